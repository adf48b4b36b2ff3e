//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package netconn

import "net"

// peek cannot tell here whether there is something to read.
func peek(net.Conn) (error, bool) { return nil, false }
