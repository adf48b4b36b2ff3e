package connectors

import (
	"context"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/pgxconn"
	"github.com/utopia-go/pools/redisconn"
)

// seesEnd has the server end idle connections. Peek sees it without a round trip,
// and no use of a pool meets one, though CheckAfter has not passed.
func seesEnd[T any](t *testing.T, connector pools.Connector[T], use func(T) error, end func()) {
	t.Helper()
	conn, err := connector.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer connector.Close(t.Context(), conn)
	for range 3 {
		if err := connector.Peek(conn); err != nil {
			t.Fatalf("a good one: %v", err)
		}
		if err := use(conn); err != nil {
			t.Fatal(err)
		}
	}
	pool, err := pools.New("ends", connector, pools.Settings{Size: 3, CheckAfter: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close(context.Background())
	if err := pool.Fill(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // the keeper looks each second, and they rest after two looks
	end()
	if err := await(func() bool { return connector.Peek(conn) != nil }); err != nil {
		t.Fatalf("the end of a connection is not seen: %v", err)
	}
	for range 3 {
		if err := pool.Use(t.Context(), use); err != nil {
			t.Errorf("a use met a connection that had ended: %v", err)
		}
	}
	if st := pool.Stats(); st.ClosedBy[pools.ReasonCheck] == 0 || st.Closed != st.ClosedBy[pools.ReasonCheck] {
		t.Errorf("%+v", st.ClosedBy)
	}
}

func TestRedisPeek(t *testing.T) {
	e := startRedis(t)
	seesEnd(t, redisconn.New(redisconn.Options{Address: e.Address}),
		func(c *redisconn.Conn) error { _, err := redis.String(c.Do("PING")); return err },
		func() { redisAdmin(t, e, "CLIENT", "KILL", "TYPE", "normal") })
}

func TestPostgresPeek(t *testing.T) {
	e := withRole(t)
	for _, cleaning := range cleanings {
		seesEnd(t, pgxconn.New(pgxconn.Options{Config: config(t, e.Address), Cleaning: cleaning}),
			func(conn *pgx.Conn) error { _, err := conn.Exec(t.Context(), "select 1"); return err },
			func() {
				postgresAdmin(t, e.Address, "select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = 'app'") // and waits
			})
	}
}
