module github.com/jackc/puddle/v2

go 1.26.0

require github.com/utopia-go/pools v0.1.0
