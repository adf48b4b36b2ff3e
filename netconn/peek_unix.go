//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package netconn

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// peek looks, without waiting, whether there is something to read. It reports
// false if it cannot tell.
func peek(conn net.Conn) (error, bool) {
	seen, known := peekBytes(conn, 1)
	if known && seen.n > 0 {
		seen.err = ErrUnread
	}
	return seen.err, known
}

// peekBytes looks at up to most of the bytes that are there to read, and leaves
// them there. It reports false if it cannot tell.
func peekBytes(conn net.Conn, most int) (peeked, bool) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return peeked{}, false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return peeked{err: err}, true
	}
	// Control and not Read: a deadline that is over must not hide the end.
	var seen peeked
	err = raw.Control(func(fd uintptr) {
		for {
			seen.n, _, seen.err = syscall.Recvfrom(int(fd), seen.bytes[:most], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if seen.err != syscall.EINTR {
				return
			}
		}
	})
	switch {
	case err != nil:
		return peeked{err: err}, true // it is closed
	case seen.err == syscall.EAGAIN:
		return peeked{}, true
	case seen.err == syscall.ENOTSOCK:
		return peeked{}, false
	case seen.err != nil:
		return peeked{err: &net.OpError{Op: "read", Net: conn.RemoteAddr().Network(), Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: os.NewSyscallError("recvfrom", seen.err)}}, true
	case seen.n == 0:
		return peeked{err: io.EOF}, true
	}
	return seen, true
}

// isFull reports whether a dial met a full accept queue. TCP does not tell.
func isFull(err error) bool {
	e, is := errors.AsType[*net.OpError](err)
	return is && e.Net == "unix" && errors.Is(err, syscall.EAGAIN)
}
