package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

// outcome is what the clients saw.
type outcome struct {
	took    time.Duration
	served  []time.Duration // how long each request took that was answered, shortest first
	failed  int
	first   error // of those that failed
	orders  int   // placed
	stopped bool  // interrupted
}

// client places orders and reads them, one request after the other.
type client struct {
	http     *http.Client
	url      string
	deadline time.Duration
	outcome
}

// load has clients use the service until ctx ends or the time is over. Nobody is
// interrupted by the latter: each finishes the request that it has begun.
func load(ctx context.Context, o options, url string) *outcome {
	transport := &http.Transport{MaxIdleConnsPerHost: o.load}
	defer transport.CloseIdleConnections()
	began := time.Now()
	clients := make([]client, o.load)
	var all sync.WaitGroup
	for n := range clients {
		c := &clients[n]
		*c = client{http: &http.Client{Transport: transport}, url: url, deadline: o.deadline}
		all.Go(func() {
			for i := n; ctx.Err() == nil && time.Since(began) < o.during; i++ {
				c.buy(ctx, i)
			}
		})
	}
	all.Wait()
	sum := &outcome{took: time.Since(began), stopped: ctx.Err() != nil}
	for _, c := range clients {
		sum.served = append(sum.served, c.served...)
		sum.failed += c.failed
		sum.orders += c.orders
		if sum.first == nil {
			sum.first = c.first
		}
	}
	slices.Sort(sum.served)
	return sum
}

// buy places an order and reads it twice, and what is left on the shelf.
func (c *client) buy(ctx context.Context, i int) {
	want := order{Customer: fmt.Sprintf("client %d", i), ProductID: int64(i%products) + 1, Quantity: 1}
	var placed, read order
	if c.ask(ctx, "POST", "/orders", want, &placed) != nil {
		return
	}
	c.orders++
	for range 2 {
		if c.ask(ctx, "GET", fmt.Sprintf("/orders/%d", placed.ID), nil, &read) == nil && read.Customer != want.Customer {
			c.fail(fmt.Errorf("order %d is of %q, not of %q", placed.ID, read.Customer, want.Customer))
		}
	}
	var shelf product
	if c.ask(ctx, "GET", fmt.Sprintf("/products/%d", want.ProductID), nil, &shelf) == nil && shelf.ID != want.ProductID {
		c.fail(fmt.Errorf("product %d is said to be %d", want.ProductID, shelf.ID))
	}
}

// ask makes one request, and counts it.
func (c *client) ask(ctx context.Context, method, path string, body, answer any) error {
	began := time.Now()
	err := c.request(ctx, method, path, body, answer)
	if err == nil {
		c.served = append(c.served, time.Since(began))
	} else if ctx.Err() == nil { // else it was cut off, which is no failure
		c.fail(err)
	}
	return err
}

func (c *client) fail(err error) {
	c.failed++
	if c.first == nil {
		c.first = err
	}
}

func (c *client) request(ctx context.Context, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, c.deadline)
	defer cancel()
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, &text)
	if err != nil {
		return err
	}
	got, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	all, err := io.ReadAll(got.Body)
	if err != nil {
		return err
	}
	if got.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, got.Status, bytes.TrimSpace(all))
	}
	return json.Unmarshal(all, answer)
}

// print prints the table. That nothing was served is an error.
func (r *outcome) print(w io.Writer, o options) error {
	if r.stopped {
		fmt.Fprintln(w, "interrupted; this is what was done so far:")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "pool\tdatabase\tconnections\tclients\trequests/s\tp50\tp99\tworst\terrors\t")
	fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%.0f\t%v\t%v\t%v\t%d\t\n", o.pool, o.database.name, o.size, o.load,
		float64(len(r.served))/r.took.Seconds(), quantile(r.served, 0.50), quantile(r.served, 0.99), quantile(r.served, 1), r.failed)
	if err := t.Flush(); err != nil {
		return err
	}
	if r.first != nil {
		fmt.Fprintln(w, "the first error:", r.first)
	}
	if len(r.served) == 0 && !r.stopped {
		return fmt.Errorf("no request was served; give them more time by -deadline, or fewer clients by -load")
	}
	return nil
}

// quantile returns the time that the share q of all did not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))].Round(100 * time.Microsecond)
}
