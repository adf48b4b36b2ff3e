package main

import (
	"bufio"
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/utopia-go/pools"
)

// start runs the program.
func start(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, err strings.Builder
	status = run(ctx, args, &out, &err)
	return status, out.String(), err.String()
}

// The clients of -load get what they ask for, on both pools, and the table says so.
func TestLoad(t *testing.T) {
	for _, pool := range []string{"pools", "sql"} {
		for _, size := range []string{"1", "3"} {
			t.Run(pool+" "+size, func(t *testing.T) {
				status, stdout, stderr := start(t.Context(), "-load", "4", "-for", "200ms", "-deadline", "1m", "-pool", pool, "-size", size)
				if status != 0 || stderr != "" {
					t.Errorf("status %d, stderr %q", status, stderr)
				}
				row := regexp.MustCompile(`(?m)^ *` + pool + ` +SQLite +` + size + ` +4 +[1-9]\d* +\S+s +\S+s +\S+s +0 *$`)
				if !row.MatchString(stdout) {
					t.Errorf("no line like %s in:\n%s", row, stdout)
				}
			})
		}
	}
}

// service is the program's parts, with the database in the test's hands.
func service(t *testing.T, args ...string) (url string, s *server, pool *pools.Pool[driver.Conn], stop func() error) {
	t.Helper()
	o, err := parse(append(args, "-listen", "127.0.0.1:0"), io.Discard)
	check(t, err)
	o.database.dsn = sqliteDSN(t.TempDir())
	db, group, err := open(o)
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	if group != nil {
		if pool, err = pools.Get[driver.Conn](group, "orders"); err != nil {
			t.Fatal(err)
		}
	}
	own, err := newStore(t.Context(), o, db)
	check(t, err)
	listener, err := net.Listen("tcp", o.listen)
	check(t, err)
	s = &server{own, o.deadline}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, o, s, listener, io.Discard) }()
	stop = func() error { cancel(); return <-ended }
	return "http://" + listener.Addr().String(), s, pool, stop
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ask makes a request, and returns the status and the answer.
func ask(ctx context.Context, method, url, body string) (int, map[string]any, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer got.Body.Close()
	answer := map[string]any{}
	return got.StatusCode, answer, json.NewDecoder(got.Body).Decode(&answer)
}

// What the clients were told is what the database has: each order once, and as many
// goods fewer on the shelves.
func TestOrdersAreKept(t *testing.T) {
	for _, pool := range []string{"pools", "sql"} {
		t.Run(pool, func(t *testing.T) {
			url, s, _, stop := service(t, "-pool", pool, "-size", "2", "-deadline", "1m")
			shelves := func() (sum int64) {
				check(t, s.store.db.Model(&product{}).Select("sum(stock)").Scan(&sum).Error)
				return sum
			}
			before := shelves()
			got := load(t.Context(), options{load: 8, during: 300 * time.Millisecond, deadline: time.Minute}, url)
			check(t, stop())
			var n int64
			check(t, s.store.db.Model(&order{}).Count(&n).Error)
			if got.failed > 0 || got.orders == 0 || int64(got.orders) != n || before-shelves() != n {
				t.Errorf("%d orders were placed, %d are there, %d goods are gone; %d requests failed: %v",
					got.orders, n, before-shelves(), got.failed, got.first)
			}
		})
	}
}

// Each answer has its status, whatever the others got before.
func TestAnswers(t *testing.T) {
	url, _, _, stop := service(t, "-deadline", "1m")
	for range 2 {
		for _, test := range []struct {
			method, path, body string
			status             int
			says               string
		}{
			{"POST", "/orders", `{"customer": "Ada", "product": 7, "quantity": 2}`, 201, "customer:Ada"},
			{"GET", "/orders/1", "", 200, "quantity:2"},
			{"GET", "/products/7", "", 200, "stock:"},
			{"GET", "/orders/999", "", 404, "none with this id"},
			{"GET", "/orders/x", "", 400, "no number"},
			{"POST", "/orders", `{"customer": "Ada"`, 400, "no JSON like"},
			{"POST", "/orders", `{"customer": "Ada", "price": 0}`, 400, "no JSON like"},
			{"POST", "/orders", `{"customer": "", "product": 7, "quantity": 2}`, 400, "an order has"},
			{"POST", "/orders", `{"customer": "Ada", "product": 7, "quantity": -2}`, 400, "an order has"},
			{"POST", "/orders", `{"customer": "Ada", "product": 101, "quantity": 1}`, 409, "no such product"},
		} {
			status, answer, err := ask(t.Context(), test.method, url+test.path, test.body)
			if text := fmt.Sprint(answer); err != nil || status != test.status || !strings.Contains(text, test.says) {
				t.Errorf("%s %s %s: %d %s, %v; want %d and %q", test.method, test.path, test.body, status, text, err, test.status, test.says)
			}
		}
	}
	check(t, stop())
}

// held has somebody else hold the only connection.
func held(t *testing.T, pool *pools.Pool[driver.Conn]) pools.Conn[driver.Conn] {
	t.Helper()
	conn, err := pool.Pop(t.Context())
	check(t, err)
	return conn
}

// Who gets no connection in time is told so, with the status of a busy service.
func TestDeadline(t *testing.T) {
	url, _, pool, stop := service(t, "-size", "1", "-deadline", "20ms")
	conn := held(t, pool)
	status, answer, err := ask(t.Context(), "GET", url+"/products/1", "")
	if err != nil || status != http.StatusServiceUnavailable || answer["error"] != "too busy; try again later" {
		t.Errorf("%d %v, %v", status, answer, err)
	}
	check(t, conn.Push())
	check(t, stop())
}

// At the end, requests that have begun are finished; then the service is gone.
func TestDrain(t *testing.T) {
	url, _, pool, stop := service(t, "-size", "1", "-deadline", "1m")
	conn := held(t, pool)
	type reply struct {
		status int
		err    error
	}
	begun := make(chan reply, 1)
	go func() {
		status, _, err := ask(context.Background(), "POST", url+"/orders", `{"customer": "Ada", "product": 7, "quantity": 2}`)
		begun <- reply{status, err}
	}()
	for end := time.Now().Add(30 * time.Second); pool.Stats().Waiting == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the request does not wait for the connection")
		}
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			break
		}
		c.Close()
		if time.Now().After(end) {
			t.Fatal("it still listens")
		}
	}
	check(t, conn.Push())
	if r := <-begun; r.err != nil || r.status != http.StatusCreated {
		t.Errorf("the request that had begun: %d, %v", r.status, r.err)
	}
	check(t, <-stopped)
}

// The program serves with a page of its pool, until it is interrupted.
func TestServe(t *testing.T) {
	for pool, hasPage := range map[string]bool{"pools": true, "sql": false} {
		t.Run(pool, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r, w := io.Pipe()
			var stderr strings.Builder
			ended := make(chan int, 1)
			go func() {
				ended <- run(ctx, []string{"-listen", "127.0.0.1:0", "-pool", pool}, w, &stderr)
				w.Close()
			}()
			page, url := "", ""
			lines := bufio.NewScanner(r)
			for url == "" && lines.Scan() {
				if at, found := strings.CutPrefix(lines.Text(), "watch the pool at "); found {
					page = at
				}
				if _, at, found := strings.Cut(lines.Text(), "serving SQLite on "); found {
					url = at
				}
			}
			if url == "" || (page != "") != hasPage {
				t.Fatalf("it serves at %q, and the page at %q; stderr %q", url, page, stderr.String())
			}
			go io.Copy(io.Discard, r)
			if status, _, err := ask(ctx, "GET", url+"/products/1", ""); err != nil || status != 200 {
				t.Errorf("%d, %v", status, err)
			}
			if hasPage {
				got, err := http.Get(page + "json")
				check(t, err)
				text, err := io.ReadAll(got.Body)
				got.Body.Close()
				if err != nil || got.StatusCode != 200 || !strings.Contains(string(text), `"orders"`) {
					t.Errorf("the page: %s %s, %v", got.Status, text, err)
				}
			}
			cancel()
			if status := <-ended; status != 0 || stderr.String() != "" {
				t.Errorf("status %d, stderr %q", status, stderr.String())
			}
		})
	}
}

func TestHelp(t *testing.T) {
	status, stdout, stderr := start(t.Context(), "-h")
	if status != 0 || stderr != "" {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
	for _, name := range []string{"-dsn database", "-pool pools", "-size", "-listen", "-debug", "-deadline", "-load", "-for"} {
		if !strings.Contains(stdout, name) {
			t.Errorf("the help does not name %s:\n%s", name, stdout)
		}
	}
}

// What is wrong is one line that names the flag, and tells no password.
func TestWrongArguments(t *testing.T) {
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"more"}, `unexpected argument "more"`},
		{[]string{"-pool", "both"}, `-pool is "both"; give pools`},
		{[]string{"-size", "0"}, "-size is 0; give at least 1"},
		{[]string{"-load", "-1"}, "-load is -1"},
		{[]string{"-for", "0s"}, "-for is 0s"},
		{[]string{"-deadline", "-1s"}, "-deadline is -1s"},
		{[]string{"-dsn", ""}, "-dsn is not a URL like postgres://"},
		{[]string{"-dsn", "app:open-sesame@tcp(localhost:3306)/shop"}, "-dsn is not a URL like"},
		{[]string{"-dsn", "postgres://app:open-sesame@%zz/shop"}, "-dsn is not a URL like"},
		{[]string{"-dsn", "postgres://app:open-sesame@localhost"}, "-dsn is not a URL like"},
		{[]string{"-dsn", "oracle://app:open-sesame@localhost/shop"}, `-dsn is a URL of scheme "oracle"`},
		{[]string{"-dsn", "postgres://app:open-sesame@localhost/shop?sslmode=maybe"}, "-dsn has a parameter"},
		{[]string{"-dsn", "mysql://app:open-sesame@localhost/shop?timeout=soon"}, "-dsn has a parameter"},
	} {
		status, stdout, stderr := start(t.Context(), test.args...)
		if status != 2 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, test.says) {
			t.Errorf("%q: status %d, stderr %q; want one line with %q", test.args, status, stderr, test.says)
		}
		if strings.Contains(stdout+stderr, "sesame") {
			t.Errorf("%q: a password is told: %s%s", test.args, stdout, stderr)
		}
	}
}

// A database that is not there is an error at the start, which tells no password.
func TestNoDatabase(t *testing.T) {
	for _, scheme := range []string{"postgres", "mysql"} {
		for _, pool := range []string{"pools", "sql"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			status, stdout, stderr := start(ctx, "-dsn", scheme+"://app:open-sesame@127.0.0.1:1/shop", "-pool", pool)
			cancel()
			if status != 1 || !strings.Contains(stderr, "-dsn") || strings.Contains(stdout+stderr, "sesame") {
				t.Errorf("%s, %s: status %d, %s%s", scheme, pool, status, stdout, stderr)
			}
		}
	}
}

// An address that is taken names the flag.
func TestAddressIsTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer listener.Close()
	for _, name := range []string{"-listen", "-debug"} {
		args := []string{"-listen", "127.0.0.1:0", "-debug", ":0", name, listener.Addr().String()}
		if status, _, stderr := start(t.Context(), args...); status != 1 || !strings.Contains(stderr, name) {
			t.Errorf("%s: status %d, stderr %q", name, status, stderr)
		}
	}
}

// Interrupted under load, it says what was done so far.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	var stderr strings.Builder
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"-load", "4", "-for", "1h", "-deadline", "1m"}, w, &stderr)
		w.Close()
	}()
	var all strings.Builder
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if strings.Contains(lines.Text(), "4 clients use") {
			cancel()
		}
		fmt.Fprintln(&all, lines.Text())
	}
	cancel()
	if status := <-ended; status != 0 || stderr.String() != "" || !strings.Contains(all.String(), "interrupted") {
		t.Errorf("status %d, stderr %q:\n%s", status, stderr.String(), all.String())
	}
}
