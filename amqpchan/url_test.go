package amqpchan_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/amqpchan"
	"github.com/utopia-go/pools/poolsdebug"
)

// Whatever is wrong with a URL, the error names the remedy, neither it nor the
// log nor the debug page has the password, and there is one try and no dial.
func TestURL(t *testing.T) {
	for url, remedy := range map[string]string{
		"amqp://app:s3cret%zz@127.0.0.1:5672/":             "percent-encoded",
		"amqp://app:s3cret#x@127.0.0.1:5672/":              "percent-encoded",
		"amqp://app:s3cret/x@127.0.0.1:5672/":              "percent-encoded",
		"amqp://app:s3cret?x@127.0.0.1:5672/":              "percent-encoded",
		"amqp://app:1@s3cret/x@127.0.0.1:5672/":            "percent-encoded",
		"amqp://app:53#s3cret":                             "percent-encoded",
		"amqp://app:s3cret@127.0.0.1:567a/":                "percent-encoded",
		"amqp://app:s3cret@127.0.0.1:567890/":              "port",
		"amqp://app:s3cret@[::1/":                          "percent-encoded",
		"amqp://app:s3cret 1@127.0.0.1:1/":                 "percent-encoded",
		"amqp:app:s3cret@127.0.0.1":                        "percent-encoded",
		"app:s3cret@127.0.0.1":                             "amqp://",
		"ampq://app:s3cret@127.0.0.1:1/":                   "amqp://",
		"amqp://app:s3cret@127.0.0.1:1/?heartbeat=s3cret":  "heartbeat",
		"amqp://app:s3cret@127.0.0.1:1/?channel_max=x":     "channel_max",
		"amqp://app:s3cret@127.0.0.1:1/?auth_mechanism=s3": "auth_mechanism",
		"amqp://app:s3cret@127.0.0.1:1/":                   "refused", // by the network: nothing listens there
	} {
		var log journal
		p, err := pools.New("q", amqpchan.New(amqpchan.Options{URL: url}), pools.Settings{
			Size: 1, ReconnectAttempts: 1, OpenTimeout: time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Pop(t.Context())
		switch {
		case err == nil:
			t.Fatalf("%s: no error", url)
		case strings.Contains(err.Error(), "s3cret"):
			t.Errorf("%s: the password is in %v", url, err)
		case !strings.Contains(err.Error(), remedy):
			t.Errorf("%s: the error does not say %q: %v", url, remedy, err)
		}
		var group pools.Group
		group.Add(p)
		page := httptest.NewRecorder()
		poolsdebug.New(&group, poolsdebug.Options{}).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "http://localhost/text", nil))
		if text := page.Body.String(); !strings.Contains(text, remedy) || strings.Contains(text, "s3cret") {
			t.Errorf("%s: the page lacks %q or has the password: %s", url, remedy, text)
		}
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
		for range 2000 { // the log is written behind
			if strings.Contains(log.String(), remedy) {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if text := log.String(); !strings.Contains(text, remedy) || strings.Contains(text, "s3cret") {
			t.Errorf("%s: the log lacks %q or has the password: %s", url, remedy, text)
		}
	}
}

// journal is a log that may be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(line)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}
