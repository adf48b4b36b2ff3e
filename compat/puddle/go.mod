module github.com/jackc/puddle/v2

go 1.26.0

replace github.com/utopia-go/pools => ../../

require github.com/utopia-go/pools v0.0.0-00010101000000-000000000000
