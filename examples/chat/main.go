// Chat is a WebSocket server in which every message goes through a pool of
// Redis connections.
//
//	go run ./examples/chat                          then open http://127.0.0.1:8080 in two tabs
//	go run ./examples/chat -redis localhost:6379    with your Redis
//	go run ./examples/chat -debug :6060             the pool's page beside it, at http://127.0.0.1:6060/debug/pools/
//	go run ./examples/chat -load                    1,000 sockets, 10,000 messages, and what they cost
//
// # How it works
//
//   - store.go is what it keeps in Redis: each room's history and who is there.
//     A message is one script there, which gives it its number and publishes it.
//   - listener.go takes one connection out of the pool and hears on it what is
//     published, by this server and by others.
//   - room.go passes it on to the sockets of its room, in the order of the
//     numbers, none twice, and fetches what it has missed.
//   - server.go is the sockets; page/ is the page.
//   - load.go is many users at once, who check all that they hear.
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
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/examples/internal/debugging"
	"github.com/utopia-go/pools/prompools"
)

type options struct {
	listen, redis string
	size          int
	load          bool
	by            string
	debug         string
	sockets       int
	messages      int
	rooms         int
}

func parse(args []string, stdout io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("chat", flag.ContinueOnError)
	flags.SetOutput(stdout)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8080", "where the server listens: `HOST:PORT`")
	flags.StringVar(&o.redis, "redis", "", "`HOST:PORT` of a Redis (default: one in this process)")
	flags.IntVar(&o.size, "size", 10, "how many connections to Redis may be open at once")
	flags.StringVar(&o.debug, "debug", "", "serve a page that shows the pool, and its metrics, at an `address` as :6060")
	flags.BoolVar(&o.load, "load", false, "do not serve: put load on it, and tell what that cost")
	flags.StringVar(&o.by, "by", "pools", "with -load, how messages get a connection: `pools`, redigo (its own pool) or dial (one each)")
	flags.IntVar(&o.sockets, "sockets", 1000, "with -load, how many users")
	flags.IntVar(&o.messages, "messages", 10_000, "with -load, how many messages in all")
	flags.IntVar(&o.rooms, "rooms", 50, "with -load, in how many rooms")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q; there are only flags, see -h", flags.Arg(0))
	case o.size < 1:
		return o, errors.New("-size must be at least 1")
	case o.rooms < 1 || o.sockets < o.rooms || o.messages < o.sockets:
		return o, errors.New("there must be a room, a socket for each room and a message for each socket: -rooms 1 or more, -sockets no less than -rooms, -messages no less than -sockets")
	}
	return o, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o, err := parse(os.Args[1:], os.Stdout)
	if err == nil {
		err = run(ctx, o, os.Stdout)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, stdout io.Writer) (err error) {
	if o.redis == "" {
		embedded, err := miniredis.Run()
		if err != nil {
			return err
		}
		defer embedded.Close()
		o.redis = embedded.Addr()
	}
	if o.load {
		return load(ctx, o, stdout)
	}
	redis, err := connections(o)
	if err != nil {
		return err
	}
	if p, ok := redis.(pooled); ok && o.debug != "" {
		group := new(pools.Group)
		if err := group.Add(p.pool); err != nil {
			return err
		}
		metrics := prometheus.NewRegistry()
		if err := metrics.Register(prompools.New(group)); err != nil {
			return errors.Join(err, redis.close())
		}
		url, stop, err := debugging.Serve(o.debug, group, map[string]http.Handler{"/metrics": promhttp.HandlerFor(metrics, promhttp.HandlerOpts{})})
		if err != nil {
			return errors.Join(fmt.Errorf("-debug: %w", err), redis.close())
		}
		defer stop()
		fmt.Fprintf(stdout, "watch it at %s\n", url)
	}
	s := newServer(&store{redis})
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() { ended <- s.listen(ctx) }()
	defer func() {
		s.close()
		cancel()
		err = errors.Join(err, <-ended, redis.close())
	}()
	web := &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "chat: http://%s\n", listener.Addr())
	context.AfterFunc(ctx, func() { web.Close() })
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
