//go:build !linux

package netconn

import (
	"syscall"
	"time"
)

// unacknowledged: there is nothing to set here that Go knows.
func unacknowledged(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
