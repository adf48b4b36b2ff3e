package connectors

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/redisconn"
)

// A client's certificate that Redis, which has OpenSSL, takes or refuses.
func TestRedisClientCertificate(t *testing.T) {
	e := startRedis(t)
	ours, roots, cert, key := engine.SelfSigned(t, "ours")
	theirs, _, _, _ := engine.SelfSigned(t, "theirs")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	free.Close()
	admin, err := redis.DialContext(t.Context(), "tcp", e.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.Do("CONFIG", "SET", "tls-cert-file", cert, "tls-key-file", key, "tls-ca-cert-file", cert, "tls-port", port); err != nil {
		if strings.Contains(err.Error(), "Unknown option") && os.Getenv("CI") != "true" {
			t.Skip("this redis-server has no TLS")
		}
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		auth   string
		certs  []tls.Certificate
		opened bool
	}{
		{"ours", "yes", []tls.Certificate{ours}, true},
		{"one of another authority", "yes", []tls.Certificate{theirs}, false},
		{"none", "yes", nil, false},
		{"none, and none is needed", "optional", nil, true},
		{"nobody asks", "no", nil, true},
	} {
		for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
			t.Run(test.name+", "+tls.VersionName(version), func(t *testing.T) {
				if _, err := admin.Do("CONFIG", "SET", "tls-auth-clients", test.auth); err != nil {
					t.Fatal(err)
				}
				connector := redisconn.New(redisconn.Options{Address: address,
					TLS: &tls.Config{RootCAs: roots, Certificates: test.certs, MinVersion: version, MaxVersion: version}})
				open, tries := connector.Open, atomic.Int32{}
				connector.Open = func(ctx context.Context) (*redisconn.Conn, error) { tries.Add(1); return open(ctx) }
				pool, err := pools.New("tls", connector, pools.Settings{Size: 1})
				if err != nil {
					t.Fatal(err)
				}
				defer pool.Close(context.Background())
				began := time.Now()
				for range 3 {
					err = pool.Use(t.Context(), func(c *redisconn.Conn) error {
						answer, err := redis.String(c.DoContext(t.Context(), "ECHO", "mine"))
						if err == nil && answer != "mine" {
							t.Errorf("got %q", answer)
						}
						return err
					})
				}
				t.Log(time.Since(began), err)
				if test.opened != (err == nil) {
					t.Error(err)
				}
				if n := tries.Load(); n != 1 {
					t.Errorf("%d tries: %v", n, err)
				}
			})
		}
	}
}
