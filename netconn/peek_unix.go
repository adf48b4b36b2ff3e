//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package netconn

import (
	"io"
	"net"
	"os"
	"syscall"
)

// peek looks, without waiting, whether there is something to read. It reports
// false if it cannot tell.
func peek(conn net.Conn) (error, bool) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return nil, false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err, true
	}
	// Control and not Read: a deadline that is over must not hide the end.
	var n int
	var read error
	err = raw.Control(func(fd uintptr) {
		for {
			n, _, read = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if read != syscall.EINTR {
				return
			}
		}
	})
	switch {
	case err != nil:
		return err, true // it is closed
	case read == syscall.EAGAIN:
		return nil, true
	case read == syscall.ENOTSOCK:
		return nil, false
	case read != nil:
		return &net.OpError{Op: "read", Net: conn.RemoteAddr().Network(), Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: os.NewSyscallError("recvfrom", read)}, true
	case n == 0:
		return io.EOF, true
	}
	return ErrUnread, true
}
