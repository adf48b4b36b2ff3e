// Orders is a small JSON service on GORM, whose *sql.DB is on a pool by sqlpools. It
// shows what one line changes: the same program runs on the pool of database/sql.
//
//	go run ./examples/orders                                   # serves on 127.0.0.1:8080, with an SQLite of its own
//	go run ./examples/orders -load 200                         # 200 clients use it for 5 s, and a table says how that went
//	go run ./examples/orders -load 200 -pool sql               # the same on database/sql's own pool
//	go run ./examples/orders -dsn postgres://app:secret@localhost/shop
//	go run ./examples/orders -h                                # the other flags
//
// 200 clients, each request with a deadline of 250 ms; one run each on two cores that
// clients, service and database shared with other work:
//
//	 pool  database  connections  clients  requests/s     p50      p99    worst  errors
//	pools    SQLite            1      200        4030  43.2ms  174.6ms  256.4ms      18
//	  sql    SQLite            1      200        1906    54ms  249.5ms  329.7ms     475
//	pools   MariaDB           10      200        2580  72.3ms  172.2ms  246.2ms      89
//	  sql   MariaDB           10      200        1873  63.3ms  239.4ms  282.6ms     866
//
// The figures vary from run to run, so compare several, in turn. On a machine that is
// busy with other things most requests are late on either pool.
//
// While it serves:
//
//	curl -d '{"customer": "Ada", "product": 7, "quantity": 2}' localhost:8080/orders
//	curl localhost:8080/orders/1
//	curl localhost:8080/products/7
//
// Read it in this order: store.go opens the database, with the one line that is
// different, and has the queries; server.go answers requests; load.go makes them; this
// file starts and ends everything.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/utopia-go/pools/examples/internal/debugging"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for anything
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program. It returns the exit status: 0, 1 when something failed, 2
// when the arguments are wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "orders:", err)
		return 2
	}
	if err := orders(ctx, o, stdout); err != nil {
		fmt.Fprintln(stderr, "orders:", err)
		return 1
	}
	return 0
}

func orders(ctx context.Context, o options, stdout io.Writer) (err error) {
	if o.database.name == sqlite {
		folder, err := os.MkdirTemp("", "orders-")
		if err != nil {
			return fmt.Errorf("the folder of the SQLite: %w; give a database by -dsn", err)
		}
		defer os.RemoveAll(folder)
		o.database.dsn = sqliteDSN(folder)
	}
	db, group, err := open(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }() // and the pool

	s, err := newStore(ctx, o, db)
	if err != nil {
		return err
	}
	if o.debug != "" && group != nil {
		url, stop, err := debugging.Serve(o.debug, group, nil)
		if err != nil {
			return fmt.Errorf("-debug: %w", err)
		}
		defer stop()
		fmt.Fprintf(stdout, "watch the pool at %s\n", url)
	}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("-listen: %w; give another address, like 127.0.0.1:0 for a free port", err)
	}
	return serve(ctx, o, &server{s, o.deadline}, listener, stdout)
}

// serve serves until ctx ends, or until the load is over. Requests that have begun then
// are finished, before the database is closed.
func serve(ctx context.Context, o options, s *server, listener net.Listener, stdout io.Writer) error {
	h := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- h.Serve(listener) }()
	url := "http://" + listener.Addr().String()

	var err error
	if o.load > 0 {
		fmt.Fprintf(stdout, "%d clients use %s for %v; each request has %v\n", o.load, url, o.during, o.deadline)
		err = load(ctx, o, url).print(stdout, o)
	} else {
		fmt.Fprintf(stdout, "serving %s on %s\n", o.database.name, url)
		select {
		case <-ctx.Done():
		case err = <-served: // it never does so by itself
			return err
		}
	}
	later, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = errors.Join(err, h.Shutdown(later))
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}
