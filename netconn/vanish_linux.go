package netconn

import (
	"os"
	"strings"
	"syscall"
	"time"
)

// userTimeout is TCP_USER_TIMEOUT, which syscall does not have for each architecture.
const userTimeout = 18

// unacknowledged is a Control that has the system end connections whose data nobody
// acknowledges for that long.
func unacknowledged(within time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(network, _ string, c syscall.RawConn) (err error) {
		if !strings.HasPrefix(network, "tcp") {
			return nil
		}
		err2 := c.Control(func(fd uintptr) {
			err = os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout, int(within/time.Millisecond)))
		})
		if err2 != nil {
			return err2
		}
		return err
	}
}
