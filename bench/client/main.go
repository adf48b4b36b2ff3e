// Command client asks a real server the shortest question that it answers,
// from many goroutines through a pool of few connections, and prints what it
// saw. bench starts it, a process for each measurement: to compare pgxpool on
// puddle with pgxpool on pools takes two programs.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/utopia-go/pools/bench/crowd"
	"github.com/utopia-go/pools/pgxconn"
)

// Report is what is printed, as JSON.
type Report struct {
	Seen crowd.Seen
	Warm int // uses before those
}

// pool is a pool of connections to a server.
type pool struct {
	ask   func(ctx context.Context) error // take, ask, give back
	close func() error
}

// rivals make a pool of up to size connections to the server at a URL.
var rivals = map[string]func(ctx context.Context, url string, size int) (pool, error){
	"pgxpool":              pgxPool,
	"pools+pgxconn":        pgxConn(pgxconn.Rollback),
	"pools+pgxconn, clean": pgxConn(pgxconn.Session),
	"go-redis":             goRedis,
	"redigo":               redigo,
	"pools+redisconn":      redisConn,
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("client: ")
	rival := flag.String("rival", "", "whose pool")
	url := flag.String("url", "", "where the server is: postgres://... or redis://...")
	size := flag.Int("size", 10, "how many connections")
	goroutines := flag.Int("goroutines", 64, "how many ask")
	during := flag.Duration("time", time.Second, "how long")
	warm := flag.Duration("warm", 200*time.Millisecond, "how long before that, to open all and to prepare")
	flag.Parse()
	report, err := run(context.Background(), *rival, *url, *size, *goroutines, *during, *warm)
	if err != nil {
		log.Fatal(*rival, ": ", err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, rival, url string, size, goroutines int, during, warm time.Duration) (report Report, err error) {
	open := rivals[rival]
	if open == nil {
		return Report{}, fmt.Errorf("unknown rival %q", rival)
	}
	p, err := open(ctx, url, size)
	if err != nil {
		return Report{}, err
	}
	defer func() {
		if e := p.close(); err == nil {
			err = e
		}
	}()
	user := func(note func()) func() error {
		return func() error {
			ctx, cancel := context.WithTimeout(ctx, time.Minute) // as a request has one
			defer cancel()
			err := p.ask(ctx)
			note()
			return err
		}
	}
	before, err := crowd.Watch(goroutines, warm, user)
	if err != nil {
		return Report{}, err
	}
	report.Warm = before.Uses
	report.Seen, err = crowd.Watch(goroutines, during, user)
	return report, err
}
