// Package proxy is a network that can be spoilt: it stands between a client
// and a server on the loopback address, and delays, withholds, cuts and
// half-closes what goes through.
package proxy

import (
	"errors"
	"net"
	"sync"
	"time"
)

// Proxy passes on each connection it accepts to a server.
type Proxy struct {
	Address string // host:port for clients

	listener net.Listener
	links    sync.WaitGroup

	mu      sync.Mutex
	server  string
	open    map[*link]struct{}
	refuses bool
	delay   time.Duration
	resumed chan struct{} // closed while nothing is withheld
}

// link is one connection through the proxy.
type link struct{ client, server *net.TCPConn }

// Start makes a proxy for the server at an address.
func Start(server string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{Address: listener.Addr().String(), server: server, listener: listener,
		open: map[*link]struct{}{}, resumed: make(chan struct{})}
	close(p.resumed)
	p.links.Go(p.accept)
	return p, nil
}

// Delay lets everything take so long on its way, in each direction.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Stall withholds everything, like a network in which packets are lost: there
// is no error. Resume lets it arrive.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.resumed:
		p.resumed = make(chan struct{})
	default:
	}
}

func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.resumed:
	default:
		close(p.resumed)
	}
}

// Lead passes new connections on to another server, as a failover does. Those
// that are open stay where they are.
func (p *Proxy) Lead(server string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = server
}

// Refuse resets new connections, until Accept.
func (p *Proxy) Refuse() { p.refuse(true) }
func (p *Proxy) Accept() { p.refuse(false) }

func (p *Proxy) refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = on
}

// Cut resets every connection, on both sides.
func (p *Proxy) Cut() {
	p.each(func(l *link) {
		for _, conn := range []*net.TCPConn{l.client, l.server} {
			_ = conn.SetLinger(0)
			_ = conn.Close()
		}
	})
}

// HalfClose ends what the server says on every connection; what its clients
// say still arrives.
func (p *Proxy) HalfClose() {
	p.each(func(l *link) { _ = l.client.CloseWrite() })
}

// Close ends the proxy, and waits until nothing of it is left.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.Refuse() // who was just being accepted, too
	p.Resume()
	p.Cut()
	p.links.Wait()
	return err
}

func (p *Proxy) each(f func(*link)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.open {
		f(l)
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		p.links.Go(func() { p.serve(client.(*net.TCPConn)) })
	}
}

func (p *Proxy) serve(client *net.TCPConn) {
	defer client.Close()
	p.mu.Lock()
	server := p.server
	p.mu.Unlock()
	conn, err := net.DialTimeout("tcp", server, time.Second)
	if err != nil {
		_ = client.SetLinger(0)
		return
	}
	defer conn.Close()
	l := &link{client, conn.(*net.TCPConn)}
	p.mu.Lock()
	refused := p.refuses
	if !refused {
		p.open[l] = struct{}{}
	}
	p.mu.Unlock()
	if refused {
		_ = client.SetLinger(0)
		return
	}
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, l)
	}()
	var both sync.WaitGroup
	both.Go(func() { p.pass(l.server, l.client) })
	both.Go(func() { p.pass(l.client, l.server) })
	both.Wait()
}

// pass carries what from says, and in the end that it says no more.
func (p *Proxy) pass(to, from *net.TCPConn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		delay, resumed := p.delay, p.resumed
		p.mu.Unlock()
		time.Sleep(delay)
		<-resumed
		if n > 0 {
			if _, failed := to.Write(buffer[:n]); failed != nil && err == nil {
				continue // half-closed: it is lost, as on a real network
			}
		}
		if err != nil {
			_ = to.CloseWrite()
			return
		}
	}
}
