package netconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/utopia-go/pools"
)

// ticketless is how long a server is waited for that may say nothing of a
// client's certificate, beside the time that the handshake took.
const ticketless = 50 * time.Millisecond

// dial dials, and waits out a full accept queue.
func dial(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err == nil || !isFull(err) {
			return conn, err
		}
		if !sleep(ctx, pause) {
			return nil, fmt.Errorf("netconn: the accept queue has stayed full: raise the server's backlog, or let it accept faster: %w", err)
		}
	}
}

// sleep returns false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// dialTLS dials, shakes hands, and waits for the server's word on the client's
// certificate if it wanted one.
func dialTLS(ctx context.Context, dialer *net.Dialer, network, address string, config *tls.Config) (net.Conn, error) {
	if config == nil {
		config = new(tls.Config)
	}
	config = config.Clone()
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = address // as tls.Dialer does
		}
		config.ServerName = host
	}
	if config.ClientSessionCache == nil {
		config.ClientSessionCache = forgetful{} // or no tickets are sent
	}
	wanted, theirs := false, config.GetClientCertificate
	config.GetClientCertificate = func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		wanted = true
		if theirs != nil {
			return theirs(request)
		}
		for i := range config.Certificates { // as crypto/tls chooses
			if request.SupportsCertificate(&config.Certificates[i]) == nil {
				return &config.Certificates[i], nil
			}
		}
		return new(tls.Certificate), nil
	}
	below, err := dial(ctx, dialer, network, address)
	if err != nil {
		return nil, err
	}
	conn, began := tls.Client(below, config), time.Now()
	err = conn.HandshakeContext(ctx)
	if err == nil && wanted && conn.ConnectionState().Version >= tls.VersionTLS13 {
		err = verdict(ctx, conn, time.Since(began)+ticketless)
	}
	if err != nil {
		below.Close()
		if !wanted || !refusesUs(err) {
			return nil, err
		}
		err = fmt.Errorf("netconn: the server wants another certificate of the client's; give one that it trusts in the config's Certificates: %w", err)
		if theirs == nil {
			err = pools.Permanent(err)
		}
		return nil, err
	}
	return conn, nil
}

// forgetful is a cache that keeps nothing.
type forgetful struct{}

func (forgetful) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (forgetful) Put(string, *tls.ClientSessionState)        {}

// A record of TLS 1.3 begins with its type and its length. An alert is one of
// two bytes, with its own type and a tag of 16.
const (
	recordHead  = 5
	alertLength = 2 + 1 + 16
)

// peeked is what is there to read: n bytes, or why there are none. Neither:
// nothing has come.
type peeked struct {
	bytes [recordHead]byte
	n     int
	err   error
}

// verdict waits for what the server sends first: an alert, which is the error, or
// tickets, or what its protocol begins with. Only a record that is as short as an
// alert is read.
func verdict(ctx context.Context, conn *tls.Conn, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		seen, known := peekBytes(conn.NetConn(), recordHead)
		length := int(seen.bytes[3])<<8 | int(seen.bytes[4])
		switch {
		case !known:
			return nil // it cannot tell on this system
		case seen.err != nil:
			return fmt.Errorf("netconn: the server has closed the connection after asking for the client's certificate: %w", seen.err)
		case seen.n == recordHead && length != alertLength:
			return nil
		case seen.n == recordHead:
			return alert(conn, within)
		}
		if !sleep(ctx, pause) {
			return nil // no news: the pool sees a first use that breaks
		}
	}
}

// alert reads what has the length of an alert.
func alert(conn *tls.Conn, within time.Duration) error {
	err := tryRead(conn, within)
	if errors.Is(err, ErrUnread) {
		return errors.New("netconn: the server began with two bytes, which have been read for an alert; dial by DialFunc, which leaves them")
	}
	return err
}

// refusesUs reports whether err is an alert of the server's that says that the
// client's certificate is not the right one, once it has asked for it. crypto/tls
// has no type for them. TLS 1.2 has no alert of its own for one that is missing.
func refusesUs(err error) bool {
	e, is := errors.AsType[*net.OpError](err)
	if !is || e.Op != "remote error" || e.Err == nil {
		return false
	}
	text := e.Err.Error()
	for _, of := range []string{"certificate", "access denied", "handshake failure"} {
		if strings.Contains(text, of) {
			return true
		}
	}
	return false
}
