module github.com/utopia-go/pools/redisconn

go 1.26.0

replace github.com/utopia-go/pools => ../

require (
	github.com/gomodule/redigo v1.9.3
	github.com/utopia-go/pools v0.0.0-00010101000000-000000000000
)
