module github.com/utopia-go/pools/examples

go 1.26

replace github.com/utopia-go/pools => ../

require (
	github.com/alicebob/miniredis/v2 v2.40.0
	github.com/gomodule/redigo v1.9.3
	github.com/utopia-go/pools v0.0.0-00010101000000-000000000000
)

require github.com/yuin/gopher-lua v1.1.1 // indirect
