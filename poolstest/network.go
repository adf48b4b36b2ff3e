package poolstest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Network is a network in memory, to write connectors against in a
// testing/synctest bubble: with the real one a bubble's time would stand
// still. Its connections are complete: they buffer, have deadlines, and are
// closed by halves; their errors are those of TCP, each in a [net.OpError].
// The network can be slow, fall silent, and be cut.
//
// Make one inside the bubble that uses it. It is safe for concurrent use and
// has no goroutines of its own.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	ends      map[*end]struct{} // of all connections
	changed   chan struct{}     // closed, and another made, when anything here changes
	delay     time.Duration
	refuses   bool
	stalled   bool
}

// NewNetwork makes a network.
func NewNetwork() *Network {
	return &Network{listeners: map[string]*listener{}, ends: map[*end]struct{}{}, changed: make(chan struct{})}
}

// buffered is how many bytes may be on their way in one direction of a
// connection; a Write of more waits.
const buffered = 64 << 10

// Delay lets all that is sent from now on arrive d later, and a dial take d.
func (n *Network) Delay(d time.Duration) { n.change(func() { n.delay = d }) }

// Stall lets nothing arrive any more, without any error; dials hang, too.
// Resume lets go what was sent meanwhile.
func (n *Network) Stall()  { n.change(func() { n.stalled = true }) }
func (n *Network) Resume() { n.change(func() { n.stalled = false }) }

// Refuse lets dials fail with ECONNREFUSED; Accept ends that. Connections
// that are open stay so.
func (n *Network) Refuse() { n.change(func() { n.refuses = true }) }
func (n *Network) Accept() { n.change(func() { n.refuses = false }) }

// Cut resets every connection: what is on its way is lost, and both ends get
// ECONNRESET.
func (n *Network) Cut() {
	n.change(func() {
		for e := range n.ends {
			e.reset = true
			e.in = nil
		}
	})
}

// change changes something, and wakes all who wait. They look again.
func (n *Network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	n.wakeAll()
}

func (n *Network) wakeAll() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// await unlocks, waits until something has changed or it is time, and locks
// again. A zero time never comes.
func (n *Network) await(until time.Time, done <-chan struct{}) {
	changed := n.changed
	n.mu.Unlock()
	defer n.mu.Lock()
	var timer <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-changed:
	case <-timer:
	case <-done:
	}
}

// Listen waits for dials to an address, which may be any text.
func (n *Network) Listen(address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, opError("listen", addr(address), syscall.EADDRINUSE)
	}
	l := &listener{network: n, at: addr(address)}
	n.listeners[address] = l
	return l, nil
}

// DialContext connects to an address that somebody listens to. It has the
// form of [net.Dialer.DialContext], for drivers that take one; the network's
// name does not matter.
func (n *Network) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	arrives := time.Now().Add(n.delay)
	for {
		l := n.listeners[address]
		switch {
		case ctx.Err() != nil:
			return nil, opError("dial", addr(address), ctx.Err())
		case n.stalled || time.Now().Before(arrives):
			until := arrives
			if n.stalled {
				until = time.Time{}
			}
			n.await(until, ctx.Done())
			continue
		case n.refuses || l == nil:
			return nil, opError("dial", addr(address), syscall.ECONNREFUSED)
		}
		client, server := &end{network: n, at: "client"}, &end{network: n, at: l.at}
		client.peer, server.peer = server, client
		n.ends[client], n.ends[server] = struct{}{}, struct{}{}
		l.backlog = append(l.backlog, server)
		n.wakeAll()
		return client, nil
	}
}

type listener struct {
	network *Network
	at      addr
	backlog []*end // under the network's lock
	closed  bool
}

func (l *listener) Accept() (net.Conn, error) {
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	for !l.closed && len(l.backlog) == 0 {
		n.await(time.Time{}, nil)
	}
	if l.closed {
		return nil, opError("accept", l.at, net.ErrClosed)
	}
	e := l.backlog[0]
	l.backlog = l.backlog[1:]
	return e, nil
}

// Close ends Accept, and resets who has not been accepted.
func (l *listener) Close() error {
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.closed {
		return opError("close", l.at, net.ErrClosed)
	}
	l.closed = true
	delete(n.listeners, string(l.at))
	for _, e := range l.backlog {
		e.peer.reset = true
		delete(n.ends, e)
	}
	n.wakeAll()
	return nil
}

func (l *listener) Addr() net.Addr { return l.at }

type addr string

func (addr) Network() string  { return "memory" }
func (a addr) String() string { return string(a) }

func opError(op string, at addr, err error) error {
	return &net.OpError{Op: op, Net: "memory", Addr: at, Err: err}
}

// end is one end of a connection, a [net.Conn] with CloseRead and CloseWrite.
// Its fields are under the network's lock.
type end struct {
	network *Network
	at      addr
	peer    *end

	in      []packet // on its way here, or here; the last may say that no more comes
	closed  bool     // by Close
	deaf    bool     // by CloseRead
	mute    bool     // by CloseWrite
	reset   bool     // by Cut
	writing bool     // a Write that may have to wait for room
	readBy  time.Time
	writeBy time.Time
}

// packet is some bytes, or the end of all if there are none.
type packet struct {
	data    []byte
	arrives time.Time
}

func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

func (e *end) Read(b []byte) (int, error) {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		switch {
		case e.closed:
			return 0, opError("read", e.at, net.ErrClosed)
		case e.reset:
			return 0, opError("read", e.at, syscall.ECONNRESET)
		case passed(e.readBy):
			return 0, opError("read", e.at, os.ErrDeadlineExceeded)
		case len(b) == 0:
			return 0, nil
		case e.deaf:
			return 0, io.EOF
		}
		until := e.readBy
		if len(e.in) > 0 && !n.stalled {
			first := &e.in[0]
			if !time.Now().Before(first.arrives) {
				if len(first.data) == 0 {
					return 0, io.EOF
				}
				c := copy(b, first.data)
				if first.data = first.data[c:]; len(first.data) == 0 {
					e.in = e.in[1:]
				}
				n.wakeAll() // there is room now
				return c, nil
			}
			if until.IsZero() || first.arrives.Before(until) {
				until = first.arrives
			}
		}
		n.await(until, nil)
	}
}

func (e *end) Write(b []byte) (sent int, err error) {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	mine := false // what others write comes before or after all of b
	defer func() {
		if mine {
			e.writing = false
			n.wakeAll()
		}
	}()
	for {
		switch {
		case e.closed:
			return sent, opError("write", e.at, net.ErrClosed)
		case e.reset:
			return sent, opError("write", e.at, syscall.ECONNRESET)
		case e.mute || e.knowsOfClose():
			return sent, opError("write", e.at, syscall.EPIPE)
		case passed(e.writeBy):
			return sent, opError("write", e.at, os.ErrDeadlineExceeded)
		case len(b) == 0:
			return sent, nil
		case e.writing && !mine:
			n.await(e.writeBy, nil)
			continue
		case e.peer.deaf || e.peer.closed:
			return sent + len(b), nil
		}
		e.writing, mine = true, true
		room := buffered
		for _, p := range e.peer.in {
			room -= len(p.data)
		}
		if room <= 0 {
			n.await(e.writeBy, nil)
			continue
		}
		now := b[:min(room, len(b))]
		e.send(append([]byte(nil), now...))
		sent, b = sent+len(now), b[len(now):]
	}
}

// knowsOfClose reports whether the other end has closed and that has arrived.
func (e *end) knowsOfClose() bool {
	if !e.peer.closed || e.network.stalled {
		return false
	}
	return len(e.in) == 0 || !time.Now().Before(e.in[len(e.in)-1].arrives)
}

// send puts a packet on its way. It does not overtake those before it.
func (e *end) send(data []byte) {
	arrives := time.Now().Add(e.network.delay)
	if in := e.peer.in; len(in) > 0 && arrives.Before(in[len(in)-1].arrives) {
		arrives = in[len(in)-1].arrives
	}
	e.peer.in = append(e.peer.in, packet{data, arrives})
	e.network.wakeAll()
}

// Close ends the connection. The other end reads what was sent before, and
// then io.EOF.
func (e *end) Close() error {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.closed {
		return opError("close", e.at, net.ErrClosed)
	}
	e.closeWrite()
	e.closed, e.in = true, nil
	delete(n.ends, e)
	n.wakeAll()
	return nil
}

// CloseWrite ends what this end says; it can still read.
func (e *end) CloseWrite() error {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if e.closed {
		return opError("close", e.at, net.ErrClosed)
	}
	e.closeWrite()
	return nil
}

func (e *end) closeWrite() {
	if !e.mute && !e.reset {
		e.mute = true
		e.send(nil)
	}
}

// CloseRead ends what this end reads; it can still write.
func (e *end) CloseRead() error {
	e.network.change(func() { e.deaf, e.in = true, nil })
	return nil
}

func (e *end) LocalAddr() net.Addr  { return e.at }
func (e *end) RemoteAddr() net.Addr { return e.peer.at }

func (e *end) SetDeadline(t time.Time) error {
	return errors.Join(e.SetReadDeadline(t), e.SetWriteDeadline(t))
}
func (e *end) SetReadDeadline(t time.Time) error {
	return e.deadline(func() { e.readBy = t })
}
func (e *end) SetWriteDeadline(t time.Time) error {
	return e.deadline(func() { e.writeBy = t })
}

func (e *end) deadline(set func()) error {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if e.closed {
		return opError("set", e.at, net.ErrClosed)
	}
	set()
	e.network.wakeAll()
	return nil
}
