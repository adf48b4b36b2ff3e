# For contributors. All but ci needs no root; ci is for Debian, where it installs
# what is missing.

.PHONY: quick test long lint race bench ci

quick: ## two minutes: the pool's own tests
	go vet work
	go test -short ./...

test: ## all tests but the long ones
	go run ./internal/test

long: ## the long ones, too, with the race detector
	go run ./internal/test -long -race -shuffle=on -timeout=15m

race: ## the pool's own tests with the race detector
	go test -race -short ./...

lint: ## what the gate holds against the code
	gofmt -l . && test -z "$$(gofmt -l .)"
	go vet work
	go fix -diff work
	go tool staticcheck work
	go run ./internal/rooms

bench: ## some minutes' look; go run ./bench writes docs/BENCHMARKS.md
	go run ./bench -quick

ci: ## the gate
	bash .ci/run
