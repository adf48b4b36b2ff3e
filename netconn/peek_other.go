//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package netconn

import "net"

// peek cannot tell here whether there is something to read.
func peek(net.Conn) (error, bool) { return nil, false }

func peekBytes(net.Conn, int) (peeked, bool) { return peeked{}, false }

// isFull: a full accept queue is not told from other refusals here.
func isFull(error) bool { return false }
