// Package netconn makes pools of network connections: TCP, Unix sockets, TLS,
// and whatever else a function dials.
//
//	pool, err := pools.New("smtp", netconn.Dial("tcp", "mail.example.com:25"), pools.Settings{Size: 10})
//
// What it gives is a [pools.Connector] whose fields may be replaced: a
// protocol that greets or logs in has an Open of its own around this one, and
// one that has a command for it asks the server in Check.
//
// What the functions do, and why:
//
//   - Check asks the kernel, and not the server, whether the other side has
//     closed the connection, or sent something that nobody has asked for.
//     Either way it is of no use any more. That costs a few microseconds and
//     no round trip; it cannot see that the server hangs, or that a network
//     between swallows everything. A TLS connection is also asked whether it
//     can still write: it cannot after CloseWrite, or after a write that ran
//     into its deadline. Peek does the same, so that what the other side has
//     closed is seen also before CheckAfter; a connection that was used within
//     the last second or two is lent without it. Where the server may send what
//     nobody has asked for, replace Check, Peek and Broken.
//   - Broken follows the pool's rule, [pools.Breaks], and looks as Check does:
//     bytes that are there after a use are the rest of an answer, and the next
//     user would take them for the answer to its own question. It also clears
//     the deadlines: those of the last user must not end the next one's reads.
//     An answer that is still on its way when a user returns nil it cannot see.
//     Check does, but only before a use that it precedes: set CheckAfter to
//     Always where users may leave without their answer and without an error,
//     or have them return [pools.Discard].
//   - Open says [pools.Permanent] of a certificate that does not verify, and of
//     a client's that the server refuses: a further try would meet the same one.
//     A Resume, a Configure, a Refresh, or a Pop 30 s later tries again.
//   - There is no Reset: what a user has left in the server's session only the
//     protocol knows.
//   - Abort closes the connection below TLS: every call on it fails at once.
//   - Close takes leave in TLS (close_notify), until its ctx ends.
//
// # When the other side vanishes
//
// A machine that crashes and a firewall that forgets a connection say nothing. Check
// asks the system, which finds that out by itself, but late. [Dialer] makes it
// sooner. Seen on Linux 6.18 with Go 1.26, on a connection whose packets were
// dropped from then on:
//
//	what the connection does             Go's dialer  Dialer(30*time.Second)
//	it is idle, or waits for an answer   151 s        31 s
//	it has sent what nobody acknowledges 15 min 38 s  31 s
//	it writes, and the other side, which
//	is there, reads nothing              never        30 s
//
// Go's dialer sends a first probe after 15 s and ends the connection after nine
// more, 15 s apart; what was sent Linux sends again for as long as its
// net.ipv4.tcp_retries2 says, 15 times by default. Neither replaces the deadline of
// a use: a user without one waits that long. The tests see all of this but Go's
// times, with a Dialer of 4 s.
//
//	connector := netconn.DialWith(netconn.Dialer(30*time.Second), "tcp", "mail.example.com:25")
//
// # Systems
//
// Check, Peek and Broken look into the kernel on Linux, macOS and the BSDs.
// Elsewhere, and for connections without a file descriptor, they try to read
// for a millisecond: each return takes that long there, and each Pop that takes a
// connection which was idle for a second or two. The same is done for
// TLS when bytes have come that may be a message of TLS's own. Of a TLS record
// that has come in part only they cannot see what it is going to be.
package netconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"iter"
	"net"
	"os"
	"time"

	"github.com/utopia-go/pools"
)

// ErrUnread is in the error of Check for a connection on which something has
// come that nobody has read.
var ErrUnread = errors.New("netconn: unread bytes: an answer that came too late, or that was not read to its end")

// glance is how long a look takes that has to read. On a machine with too much
// to do that may be too short for a read to begin; longest is about how long it
// is made then.
const (
	glance  = time.Millisecond
	longest = 100 * time.Millisecond
)

// Dial makes a connector of [net.Dialer.DialContext]: networks are "tcp",
// "unix" and what else it knows. The pool bounds it by OpenTimeout.
//
// A Unix socket whose accept queue is full refuses at once, with EAGAIN, where
// TCP waits. Open waits too, until its ctx ends.
func Dial(network, address string) pools.Connector[net.Conn] {
	return DialWith(new(net.Dialer), network, address)
}

// DialWith is Dial by a dialer with settings of one's own, or one of [Dialer]. A nil
// one is the zero one.
func DialWith(dialer *net.Dialer, network, address string) pools.Connector[net.Conn] {
	if dialer == nil {
		dialer = new(net.Dialer)
	}
	return DialFunc(func(ctx context.Context) (net.Conn, error) { return dial(ctx, dialer, network, address) })
}

// DialTLS makes a connector like Dial's, of connections that have shaken hands
// as those of a [tls.Dialer] have. A nil config is the zero one; without a
// ServerName the host of address must be in the server's certificate.
//
// If the server asks for the client's certificate, Open waits for what it makes
// of it: in TLS 1.3 it tells so only after the client has finished its
// handshake, and each Open would succeed with a certificate that it refuses. A
// server that takes it sends session tickets, which DialTLS asks for. One that
// sends nothing is waited for as long as the handshake took, and 50 ms. A
// certificate that is refused is [pools.Permanent], unless the config has a
// GetClientCertificate, which may return another next time.
func DialTLS(network, address string, config *tls.Config) pools.Connector[net.Conn] {
	return DialTLSWith(&tls.Dialer{Config: config}, network, address)
}

// DialTLSWith is DialTLS by a dialer with settings of one's own: its NetDialer, for
// which [Dialer] has one, and its Config. A nil one is the zero one.
func DialTLSWith(dialer *tls.Dialer, network, address string) pools.Connector[net.Conn] {
	if dialer == nil {
		dialer = new(tls.Dialer)
	}
	below, config := dialer.NetDialer, dialer.Config
	if below == nil {
		below = new(net.Dialer)
	}
	return DialFunc(func(ctx context.Context) (net.Conn, error) { return dialTLS(ctx, below, network, address, config) })
}

// DialFunc makes a connector of any function that dials. What it returns shakes
// hands in Open, if it has a method HandshakeContext as [tls.Conn] has it. A
// type of your own around a connection should have a method NetConn() net.Conn
// that returns it, as tls.Conn has: that is what Check looks at, and what Abort
// closes.
func DialFunc[C net.Conn](dial func(ctx context.Context) (C, error)) pools.Connector[C] {
	return pools.Connector[C]{
		Open:  func(ctx context.Context) (C, error) { return open(ctx, dial) },
		Close: func(ctx context.Context, conn C) error { return closeConn(ctx, conn) },
		Check: func(_ context.Context, conn C) error { return Check(conn) },
		Peek:  func(conn C) error { return Check(conn) },
		Broken: func(conn C, err error) bool {
			return pools.Breaks(err) || conn.SetDeadline(time.Time{}) != nil || Check(conn) != nil
		},
		Abort: func(conn C) { lowest(conn).Close() },
	}
}

// open dials and shakes hands, so that a server which does not is found out
// here, and not by a user or in the little time that a look has.
func open[C net.Conn](ctx context.Context, dial func(ctx context.Context) (C, error)) (C, error) {
	conn, err := dial(ctx)
	if err != nil {
		return conn, refused(err)
	}
	if h, ok := any(conn).(interface{ HandshakeContext(context.Context) error }); ok {
		if err := h.HandshakeContext(ctx); err != nil {
			lowest(conn).Close()
			var none C
			return none, refused(err)
		}
	}
	return conn, nil
}

// refused returns err, as permanent if it refuses the server's certificate.
// crypto/tls wraps what it finds itself; a VerifyConnection of the user's may
// return errors of x509 as they are.
func refused(err error) error {
	var (
		tlsErr    *tls.CertificateVerificationError
		invalid   x509.CertificateInvalidError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
	)
	if errors.As(err, &tlsErr) || errors.As(err, &invalid) || errors.As(err, &authority) || errors.As(err, &hostname) {
		return pools.Permanent(err)
	}
	return err
}

// layer is a connection on top of another, such as [tls.Conn].
type layer interface{ NetConn() net.Conn }

// layers returns a connection and all that it runs on, the lowest last.
func layers(conn net.Conn) iter.Seq[net.Conn] {
	return func(yield func(net.Conn) bool) {
		for c := conn; yield(c); {
			l, ok := c.(layer)
			if !ok {
				return
			}
			c = l.NetConn()
		}
	}
}

// lowest returns what a connection runs on in the end.
func lowest(conn net.Conn) net.Conn {
	for conn = range layers(conn) {
	}
	return conn
}

func closeConn(ctx context.Context, conn net.Conn) error {
	if _, ok := conn.(layer); ok { // TLS writes before it closes, and would wait for five seconds
		defer context.AfterFunc(ctx, func() { lowest(conn).Close() })()
	}
	return conn.Close()
}

// Check returns an error if the other side has closed conn ([io.EOF], or
// another error of the network), if there is something to read ([ErrUnread]),
// or if a [tls.Conn] cannot write any more.
// Nobody may use conn meanwhile; its deadlines may be cleared. It takes
// a few microseconds, and a millisecond where it has to read, or more on a busy
// machine.
//
// It is the Check of this package's connectors, for other packages' whose
// resource has a [net.Conn] below it.
func Check(conn net.Conn) error {
	if !shaken(conn) {
		// To read or write would begin the handshake, and its deadline ruin it.
		return checkRead(lowest(conn))
	}
	if err := checkRead(conn); err != nil {
		return err
	}
	return checkWrite(conn)
}

// shaken reports whether conn has no TLS whose handshake is still to come.
func shaken(conn net.Conn) bool {
	for c := range layers(conn) {
		if t, ok := c.(interface{ ConnectionState() tls.ConnectionState }); ok && !t.ConnectionState().HandshakeComplete {
			return false
		}
	}
	return true
}

func checkRead(conn net.Conn) error {
	_, layered := conn.(layer)
	err, known := peek(lowest(conn))
	switch {
	case !layered && known:
		return err
	case !layered:
		return tryRead(conn, glance)
	case known && err == nil:
		return tryRead(conn, 0) // a layer may hold back what it has read
	case known && !errors.Is(err, ErrUnread):
		return err
	}
	// What has come may be the layer's own: TLS has tickets, alerts, key
	// updates. It is gone when the layer has read it; while it is there, the
	// layer has not had the time.
	for within := glance; ; within *= 2 {
		if err := tryRead(conn, within); err != nil || !known {
			return err
		}
		if err, _ := peek(lowest(conn)); !errors.Is(err, ErrUnread) || within > longest {
			return err
		}
	}
}

// checkWrite returns why nothing more can be written with TLS. That stays with
// a tls.Conn after its CloseWrite, and after a write that failed or ran into
// its deadline: a record may have gone in part. A Write of nothing sends
// nothing, and tells.
func checkWrite(conn net.Conn) error {
	for c := range layers(conn) {
		t, ok := c.(*tls.Conn)
		if !ok {
			continue
		}
		// The deadline is for a goroutine that still writes: it would hold this
		// Write up.
		if err := t.SetWriteDeadline(time.Unix(1, 0)); err != nil {
			return err
		}
		if _, err := t.Write(nil); err != nil {
			return err
		}
		if err := t.SetWriteDeadline(time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

// tryRead returns an error if there is something to read within some time, or
// the end.
func tryRead(conn net.Conn, within time.Duration) error {
	for {
		end := time.Unix(1, 0)
		if within > 0 {
			end = time.Now().Add(within)
		}
		if err := conn.SetReadDeadline(end); err != nil {
			return err
		}
		// After its deadline a read does not look at what is there. Another
		// goroutine may have had the processor since it was set.
		late := within > 0 && !time.Now().Before(end)
		n, err := conn.Read(make([]byte, 1))
		switch {
		case n > 0:
			return ErrUnread
		case errors.Is(err, os.ErrDeadlineExceeded) && late && within <= longest:
			within *= 2
			continue
		case errors.Is(err, os.ErrDeadlineExceeded) && !late:
			return conn.SetReadDeadline(time.Time{})
		case err == nil:
			return io.ErrNoProgress
		}
		return err
	}
}
