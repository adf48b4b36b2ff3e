package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/examples/internal/redistest"
)

func TestRun(t *testing.T) {
	if err := run(t.Context()); err != nil {
		t.Error(err)
	}
}

// realServer is a real Redis, seen by its administrator.
type realServer struct{ admin redis.Conn }

func (s realServer) admit(_ context.Context, user, password string) error {
	_, err := s.admin.Do("ACL", "SETUSER", user, "reset", "on", ">"+password, "~*", "+@all")
	return err
}

// forget also disconnects whoever still is that user.
func (s realServer) forget(_ context.Context, user string) error {
	_, err := s.admin.Do("ACL", "DELUSER", user)
	return err
}

// A Redis disconnects the users that it forgets: one connection that was not
// replaced, and a request fails.
func TestRotateOnARealServer(t *testing.T) {
	address, admin := redistest.Start(t)
	s := &secrets{server: realServer{admin}}
	if err := s.next(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool, err := newPool(address, s)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close(t.Context())
	load := startLoad(t.Context(), pool)
	for range 5 {
		// A Refresh gives up what the last one is still opening.
		if err := pool.Fill(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		if err := rotate(t.Context(), pool, s, 200*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		clients, err := redis.String(admin.Do("CLIENT", "LIST"))
		if err != nil {
			t.Fatal(err)
		}
		if mine := strings.Count(clients, "user="+s.user()); mine == 0 || mine != strings.Count(clients, "user=app-") {
			t.Errorf("not all are of user %s:\n%s", s.user(), clients)
		}
	}
	load.stop()
	if first := load.first.Load(); first != nil {
		t.Errorf("%d of %d requests failed, the first: %v", load.failed.Load(), load.done.Load(), *first)
	}
	if st := pool.Stats(); load.done.Load() < 1000 || st.ClosedBy[pools.ReasonRefresh] < 50 {
		t.Errorf("%d requests, %+v", load.done.Load(), st)
	}
}
