module github.com/utopia-go/pools/redisconn

go 1.26.0

require (
	github.com/gomodule/redigo v1.9.3
	github.com/utopia-go/pools v0.1.0
)
