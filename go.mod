module github.com/utopia-go/pools

go 1.26
