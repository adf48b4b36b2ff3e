package connectors

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/pgxconn"
)

// A server process that is killed takes all sessions with it. Each is told the
// reason (57P02) in a notice, which pgx does not make an error: its user gets one that has no code. Who opens
// meanwhile may get 57P03, and is served when the server is there again.
func TestPostgresCrash(t *testing.T) {
	e := withRole(t)
	c := config(t, e.Address)
	var told atomic.Value
	c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { told.Store(n.Code) }
	connector := pgxconn.New(pgxconn.Options{Config: c})
	conn, err := connector.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	victim, err := pgx.Connect(t.Context(), engine.PostgresURL("postgres", e.Address))
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close(context.Background())
	if err := syscall.Kill(int(victim.PgConn().PID()), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The server takes its time to notice. A user who writes then loses the notice; one
	// who only reads gets it, unless the process had no time to send it.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = conn.WaitForNotification(ctx)
	notice, _ := told.Load().(string)
	if err == nil || ctx.Err() != nil || code(err) != "" || notice != "57P02" && notice != "" || !connector.Broken(conn, err) {
		t.Errorf("%v, told %v, broken %v", err, told.Load(), connector.Broken(conn, err))
	}
	_ = connector.Close(t.Context(), conn)
	opensAgain(t, connector)
}

// opensAgain opens again and again while the server starts, and returns how often
// it was refused.
func opensAgain(t *testing.T, connector pools.Connector[*pgx.Conn]) (refused map[string]int) {
	t.Helper()
	refused = make(map[string]int)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := engine.Eventually(ctx, func() error {
		conn, err := connector.Open(ctx)
		if err != nil {
			refused[code(err)]++
			if _, plain := err.(*pgconn.ConnectError); code(err) == "57P03" && !plain { // there is no other way to see it
				t.Errorf("permanent: %v", err)
			}
			return err
		}
		return connector.Close(ctx, conn)
	}); err != nil {
		t.Error(err)
	}
	t.Logf("refused until it was there again: %v", refused)
	return refused
}

// postmaster returns the number of the server's first process.
func postmaster(t *testing.T, e *engine.Engine) int {
	t.Helper()
	var folder string
	conn, err := pgx.Connect(t.Context(), engine.PostgresURL("postgres", e.Address))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), "show data_directory").Scan(&folder); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// A server that was told to stop when all have gone lends on, and refuses opens
// with 57P03, which are tried again.
func TestPostgresShutsDown(t *testing.T) {
	e := withRole(t)
	pid := postmaster(t, e)
	connector := pgxconn.New(pgxconn.Options{Config: config(t, e.Address)})
	conn, err := connector.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := engine.Eventually(t.Context(), func() error { // the server takes its time to notice
		var other *pgx.Conn
		if other, err = connector.Open(t.Context()); err == nil {
			_ = connector.Close(t.Context(), other)
			return errors.New("opens go on")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, plain := err.(*pgconn.ConnectError); code(err) != "57P03" || !plain { // there is no other way to see it
		t.Errorf("%T %v", err, err)
	}
	if err := errors.Join(connector.Check(t.Context(), conn), connector.Reset(t.Context(), conn)); err != nil || connector.Broken(conn, nil) {
		t.Errorf("the session that was there: %v", err)
	}
	_ = connector.Close(t.Context(), conn)
}

// A server that was killed starts again: 57P03 may be seen, and is tried again.
func TestPostgresStarts(t *testing.T) {
	e := withRole(t)
	connector := pgxconn.New(pgxconn.Options{Config: config(t, e.Address)})
	for range 10 { // how long it takes to start is chance
		postgresAdmin(t, e.Address, "insert into things select generate_series(1, 50000)")
		if err := e.Kill(); err != nil {
			t.Fatal(err)
		}
		started := make(chan error, 1)
		go func() { started <- e.Start(t.Context()) }()
		refused := opensAgain(t, connector)
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		if refused["57P03"] > 0 {
			return
		}
	}
	t.Error("57P03 was not seen")
}

// The database is dropped under its sessions: on the server itself that is an
// administrator's command (57P01), on a standby of it 57P04.
func TestPostgresDatabaseDropped(t *testing.T) {
	primary, replica := standby(t)
	postgresAdmin(t, primary.Address, "create database doomed")
	for name, e := range map[string]*engine.Engine{"57P04": replica, "57P01": primary} {
		t.Run(name, func(t *testing.T) {
			c := config(t, e.Address)
			c.Database = "doomed"
			connector := pgxconn.New(pgxconn.Options{Config: c, Replica: e == replica})
			var conn *pgx.Conn
			if err := engine.Eventually(t.Context(), func() (err error) { // the standby follows
				conn, err = connector.Open(t.Context())
				return err
			}); err != nil {
				t.Fatal(err)
			}
			postgresAdmin(t, primary.Address, "drop database doomed with (force)")
			var err error
			if engine.Eventually(t.Context(), func() error {
				if err = connector.Check(t.Context(), conn); err == nil {
					return errors.New("the session goes on")
				}
				return nil
			}) != nil {
				t.Fatal(err)
			}
			if code(err) != name || !connector.Broken(conn, err) {
				t.Errorf("%v, broken %v", err, connector.Broken(conn, err))
			}
			_ = connector.Close(t.Context(), conn)
			// The database is marked as invalid before it is gone: 55000 meanwhile.
			if err := engine.Eventually(t.Context(), func() error {
				_, err := connector.Open(t.Context())
				switch code(err) {
				case "3D000":
					return nil
				case "55000":
					return err
				}
				t.Fatalf("the next open: %v", err)
				return nil
			}); err != nil {
				t.Error(err)
			}
			postgresAdmin(t, primary.Address, "create database doomed")
		})
	}
}
