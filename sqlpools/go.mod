module github.com/utopia-go/pools/sqlpools

go 1.26.0

require github.com/utopia-go/pools v0.1.0
