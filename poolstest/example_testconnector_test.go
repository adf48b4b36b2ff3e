package poolstest_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// phone is a connection of a protocol of one's own.
type phone struct{ net.Conn }

func (p phone) say(ctx context.Context, word string) (string, error) {
	stop := context.AfterFunc(ctx, func() { p.Close() })
	_, err := fmt.Fprintln(p, word)
	answer := ""
	if err == nil {
		answer, err = bufio.NewReader(p).ReadString('\n')
	}
	if !stop() {
		err = ctx.Err() // it is closed now, whatever came of it
	}
	return answer, err
}

// phones is the connector that the program uses, with the dialer as a
// parameter: net.Dialer's in the program, poolstest.Network's in its test.
func phones(dial func(ctx context.Context, network, address string) (net.Conn, error)) pools.Connector[phone] {
	return pools.Connector[phone]{
		Open: func(ctx context.Context) (phone, error) {
			conn, err := dial(ctx, "tcp", "exchange:25")
			return phone{conn}, err
		},
		Check: func(ctx context.Context, p phone) error { _, err := p.say(ctx, "hello?"); return err },
		Abort: func(p phone) { p.Close() },
	}
}

func testPhones(t *testing.T) {
	poolstest.TestConnector(t, synctest.Test, func(t *testing.T) poolstest.Subject[phone] {
		network := poolstest.NewNetwork()
		listener, err := network.Listen("exchange:25")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		go func() { // the server: an echo
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					for lines := bufio.NewScanner(conn); lines.Scan(); {
						fmt.Fprintln(conn, lines.Text())
					}
				}()
			}
		}()
		return poolstest.Subject[phone]{
			Connector: phones(network.DialContext),
			Use:       func(ctx context.Context, p phone) error { _, err := p.say(ctx, "hello"); return err },
			Kill:      func(phone) { network.Cut() },
			Silence:   func() func() { network.Stall(); return network.Resume },
		}
	})
}

// TestConnector says what a connector gets wrong, in words that say how it is
// put right.
func ExampleTestConnector() {
	var t *testing.T // of the test function
	testPhones(t)
}
