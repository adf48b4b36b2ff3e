package prompools_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// A Prometheus scrapes two programs, loads the alerts, and has an answer to each
// question of the dashboard.
func TestPrometheus(t *testing.T) {
	program := need(t, "prometheus")
	p := start(t, program, []string{busy(t, false), busy(t, false)})

	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	p.until(t, "the rules are evaluated", func() error {
		if err := p.get("rules", nil, &rules); err != nil {
			return err
		}
		if len(rules.Groups) != 1 || len(rules.Groups[0].Rules) != 6 {
			return fmt.Errorf("rules: %+v", rules)
		}
		for _, r := range rules.Groups[0].Rules {
			if r.Health != "ok" || r.LastError != "" {
				return fmt.Errorf("rule: %+v", r)
			}
		}
		return nil
	})
	p.until(t, "the targets are up", func() error {
		var targets struct {
			ActiveTargets []struct{ Health, LastError string }
		}
		if err := p.get("targets", nil, &targets); err != nil {
			return err
		}
		if all := targets.ActiveTargets; len(all) != 2 || all[0].Health != "up" || all[1].Health != "up" {
			return fmt.Errorf("targets: %+v", all)
		}
		return nil
	})
	p.until(t, "leases of both", func() error {
		there, err := p.query(`count(rate(pools_leases_total[10s]) > 0) == 2`)
		if err == nil && !there {
			err = errors.New("none")
		}
		return err
	})
	for _, e := range expressions(t) {
		query := strings.NewReplacer("$pool", ".*", "$instance", ".*", "$__rate_interval", "10s").Replace(e.promQL)
		p.until(t, e.where, func() error {
			there, err := p.query(query)
			if err == nil && !there && e.where != "alert" { // those need not have anything to tell
				err = fmt.Errorf("%s: nothing", query)
			}
			return err
		})
	}
}

// A Prometheus that takes native histograms takes ours.
func TestNativeHistograms(t *testing.T) {
	program := need(t, "prometheus")
	p := start(t, program, []string{busy(t, true)}, "--enable-feature=native-histograms")
	p.until(t, "a native histogram", func() error {
		there, err := p.query("histogram_quantile(0.5, rate(pools_use_seconds[10s])) > 0.001 < 0.1")
		if err == nil && !there {
			err = errors.New("nothing")
		}
		return err
	})
}

// busy puts load on a pool, and returns where its metrics are served.
func busy(t *testing.T, native bool) (address string) {
	t.Helper()
	pool, _ := poolstest.New(t, pools.Settings{Size: 2})
	load(t, pool)
	registry, _ := register(t, native, pool)
	target := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.Cleanup(target.Close)
	return strings.TrimPrefix(target.URL, "http://")
}

// load uses a pool of two by four goroutines until the test ends.
func load(t *testing.T, pool *pools.Pool[*poolstest.Resource]) {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				err := pool.Use(ctx, func(*poolstest.Resource) error {
					select {
					case <-ctx.Done():
					case <-time.After(time.Duration(1+i) * time.Millisecond):
					}
					if n%20 == 19 {
						return pools.Discard(nil)
					}
					return nil
				})
				if err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	t.Cleanup(func() { stop(); wg.Wait() })
}

type server struct {
	address string
	ended   <-chan struct{}
	log     *bytes.Buffer // not to be read before ended
}

// start starts a Prometheus that scrapes some targets, and kills it when the
// test ends.
func start(t *testing.T, program string, targets []string, flags ...string) *server {
	t.Helper()
	alerts, err := filepath.Abs(filepath.Join(dashboards, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n- job_name: pools\n  static_configs: [{targets: [%s]}]\n", alerts, strings.Join(targets, ", "))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// Another process may take the port before Prometheus does: then again.
	for range 3 {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := free.Addr().String()
		free.Close()
		ended, log := make(chan struct{}), new(bytes.Buffer)
		cmd := exec.Command(program, append(flags, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
			"--web.listen-address="+address, "--log.level=warn")...)
		cmd.Stdout, cmd.Stderr = log, log
		dieWithUs(cmd)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { _ = cmd.Wait(); close(ended) }()
		t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
		s := &server{address, ended, log}
		if s.poll(s.ready) == nil {
			return s
		}
		_ = cmd.Process.Kill()
		<-ended
		t.Logf("prometheus did not start: %s", log)
	}
	t.Fatal("prometheus does not start")
	return nil
}

func (s *server) ready() error {
	response, err := client.Get("http://" + s.address + "/-/ready")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

var client = &http.Client{Timeout: 5 * time.Second}

// get asks Prometheus's API.
func (s *server) get(what string, query url.Values, answer any) error {
	response, err := client.Get("http://" + s.address + "/api/v1/" + what + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var body struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		return err
	}
	if body.Status != "success" {
		return fmt.Errorf("%s %v: %s", what, query, body.Error)
	}
	return json.Unmarshal(body.Data, answer)
}

// query reports whether a query has a result that is a number.
func (s *server) query(promQL string) (bool, error) {
	var answer struct {
		Result []struct{ Value [2]any }
	}
	err := s.get("query", url.Values{"query": {promQL}}, &answer)
	return slices.ContainsFunc(answer.Result, func(r struct{ Value [2]any }) bool { return r.Value[1] != "NaN" }), err
}

func (s *server) until(t *testing.T, what string, is func() error) {
	t.Helper()
	if err := s.poll(is); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// poll asks until there is no error, for 20 s at most, and returns the last.
func (s *server) poll(is func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	enough := time.After(20 * time.Second)
	for {
		err := is()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-enough:
			return err
		case <-s.ended:
			return errors.Join(err, errors.New("prometheus has ended"))
		}
	}
}
