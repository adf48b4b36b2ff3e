package prompools_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

const dashboards = "../dashboards"

// need returns where a program is. Without it there is nothing to test, which
// the gate must not take for a success.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v; install the package prometheus", err)
		}
		t.Skipf("%v; install the package prometheus", err)
	}
	return path
}

func run(t *testing.T, stdin []byte, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, need(t, program), args...)
	cmd.Dir, cmd.Stdin = dashboards, bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("FAILED")) {
		t.Errorf("%v: %v\n%s", args, err, out)
	}
}

func TestRules(t *testing.T) {
	run(t, nil, "promtool", "check", "rules", "alerts.yml")
	run(t, nil, "promtool", "test", "rules", "alerts_test.yml")

	tests := read(t, "alerts_test.yml")
	rules := regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllSubmatch(read(t, "alerts.yml"), -1)
	for _, rule := range rules {
		if !bytes.Contains(tests, rule[1]) {
			t.Errorf("alerts_test.yml does not test %s", rule[1])
		}
		if !bytes.Contains(read(t, "README.md"), append([]byte("**"), rule[1]...)) {
			t.Errorf("README.md does not explain %s", rule[1])
		}
	}
	if len(rules) != 6 {
		t.Errorf("there are %d rules", len(rules))
	}
}

// The tests of the alerts have the borders that the collector sends: an alert
// can be wrong between two of them.
func TestBordersOfRules(t *testing.T) {
	border := regexp.MustCompile(`\ble="([^"]*)"`)
	sent := map[string]bool{}
	for _, m := range border.FindAllSubmatch(text(t), -1) {
		sent[string(m[1])] = true
	}
	tested := border.FindAllSubmatch(read(t, "alerts_test.yml"), -1)
	for _, m := range tested {
		if !sent[string(m[1])] {
			t.Errorf("alerts_test.yml has le=%q, which the collector does not send", m[1])
		}
	}
	if len(tested) == 0 || len(sent) < 20 {
		t.Errorf("%d borders are tested of %v", len(tested), sent)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dashboards, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// used registers a pool of which one connection was used.
func used(t *testing.T) *prometheus.Registry {
	pool, _ := poolstest.New(t, pools.Settings{Size: 1})
	if err := pool.Use(t.Context(), func(*poolstest.Resource) error { return nil }); err != nil {
		t.Fatal(err)
	}
	registry, _ := register(t, false, pool)
	return registry
}

// text is what Prometheus scrapes of it.
func text(t *testing.T) []byte {
	t.Helper()
	families, err := used(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Fatal(err)
		}
	}
	return text.Bytes()
}

func TestCheckMetrics(t *testing.T) { run(t, text(t), "promtool", "check", "metrics") }

// expression is one that a dashboard or an alert evaluates.
type expression struct{ where, promQL string }

// expressions returns those of the dashboard and of the alerts.
func expressions(t *testing.T) (all []expression) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			ID                 int
			Title, Description string
			Targets            []struct{ Expr string }
		}
		Templating struct{ List []struct{ Name string } }
	}
	if err := json.Unmarshal(read(t, "grafana.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	ids := map[int]bool{}
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] || panel.Title == "" || panel.Description == "" || len(panel.Targets) == 0 {
			t.Errorf("panel %d %q: an ID of its own, a title, a description and targets are needed", panel.ID, panel.Title)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			for _, selector := range []string{`pool=~"$pool"`, `instance=~"$instance"`} {
				if !strings.Contains(target.Expr, selector) {
					t.Errorf("panel %q does not select by %s", panel.Title, selector)
				}
			}
			all = append(all, expression{"panel " + panel.Title, target.Expr})
		}
	}
	if len(dashboard.Templating.List) != 3 {
		t.Errorf("there are %d variables", len(dashboard.Templating.List))
	}
	for _, rule := range regexp.MustCompile(`(?m)^ +expr: (.+)$`).FindAllStringSubmatch(string(read(t, "alerts.yml")), -1) {
		all = append(all, expression{"alert", rule[1]})
	}
	if len(all) < 20 {
		t.Errorf("found %d expressions only", len(all))
	}
	return all
}

var (
	quoted   = regexp.MustCompile(`"[^"]*"`)
	labels   = regexp.MustCompile(`\{[^}]*\}|\b(by|without|on|ignoring) *\([^)]*\)`)
	ranges   = regexp.MustCompile(`\[[^]]*\]`)
	words    = regexp.MustCompile(`\b[a-zA-Z_:][a-zA-Z0-9_:]*( *\()?`)
	keywords = map[string]bool{"and": true, "or": true, "unless": true, "by": true, "without": true, "offset": true, "bool": true}
)

// names returns the metrics of an expression: the words that are not labels,
// functions or keywords.
func names(promQL string) (all []string) {
	for _, part := range []*regexp.Regexp{quoted, labels, ranges} {
		promQL = part.ReplaceAllString(promQL, " ")
	}
	for _, word := range words.FindAllString(promQL, -1) {
		if !strings.HasSuffix(word, "(") && !keywords[word] {
			all = append(all, word)
		}
	}
	return all
}

// What the dashboard and the alerts ask for, the collector exports; and what
// it exports, the package's comment lists.
func TestNamesOfMetrics(t *testing.T) {
	families, err := used(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	comment, err := os.ReadFile("prompools.go")
	if err != nil {
		t.Fatal(err)
	}
	exported := map[string]bool{}
	for _, f := range families {
		if !regexp.MustCompile(`(?m)^//\t` + f.GetName() + `\b`).Match(comment) {
			t.Errorf("the package's comment does not list %s", f.GetName())
		}
		exported[f.GetName()] = true
		if f.Metric[0].Histogram != nil {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				exported[f.GetName()+suffix] = true
			}
		}
	}
	for _, e := range expressions(t) {
		found := names(e.promQL)
		if len(found) == 0 {
			t.Errorf("%s: no metric in %s", e.where, e.promQL)
		}
		for _, name := range found {
			if !exported[name] {
				t.Errorf("%s: the collector does not export %s, which is in %s", e.where, name, e.promQL)
			}
		}
	}
	got := fmt.Sprint(names(`sum by (pool, le) (rate(a_total{pool=~"x and (y"}[5m])) > 0.5 and b:c / 2e3 unless d{e="f"} offset 5m`))
	if want := "[a_total b:c d]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
