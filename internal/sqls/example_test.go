package sqls

import (
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/utopia-go/pools/internal/engine"
)

// The program of examples/orders runs on MariaDB and PostgreSQL, on both pools: each of
// its clients gets its own orders, and what was placed is there. A wrong password is an
// error that does not tell it.
func TestExampleOrders(t *testing.T) {
	program := filepath.Join(t.TempDir(), "orders")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/utopia-go/pools/examples/orders").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, s := range systems {
		if s.name != "mysql" && s.name != "pgx" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			e := s.server.engine(t)
			dsn := engine.PostgresURL(engine.PostgresUser, e.Address)
			if s.server == mariaDB {
				dsn = "mysql://" + engine.MariaDBUser + "@" + e.Address + "/" + engine.MariaDBUser
			}
			db := s.plain(t)
			defer run(t, db, "drop table if exists example_orders", "drop table if exists example_products")
			before := 0
			for _, pool := range []string{"pools", "sql"} {
				// The clients have all the time they want: whether that is short is the machine's affair.
				out, err := exec.CommandContext(t.Context(), program, "-dsn", dsn, "-pool", pool, "-load", "20", "-size", "4", "-for", "300ms", "-deadline", "1m").CombinedOutput()
				row := regexp.MustCompile(`(?m)^ *` + pool + ` +\S+ +4 +20 +[1-9]\d* .* 0 *$`)
				if err != nil || !row.Match(out) {
					t.Fatalf("%v; no line like %s in:\n%s", err, row, out)
				}
				n := number(t, ask(t, db, "select count(*) from example_orders"))
				goods := number(t, ask(t, db, "select 100 * 1099511627776 - sum(stock) from example_products"))
				if n <= before || goods != n {
					t.Errorf("%s: %d orders, and %d before; %d goods are gone", pool, n, before, goods)
				}
				before = n
			}
			if s.server == mariaDB { // PostgreSQL asks nobody for a password here
				refused(t, program, dsn)
			}
		})
	}
}

// refused gives a user a password that is wrong.
func refused(t *testing.T, program, dsn string) {
	wrong, err := url.Parse(dsn)
	check(t, err)
	wrong.User = url.UserPassword(engine.MariaDBUser, "open sesame/50%")
	out, err := exec.CommandContext(t.Context(), program, "-dsn", wrong.String()).CombinedOutput()
	text := string(out)
	if exit, failed := err.(*exec.ExitError); !failed || exit.ExitCode() != 1 || !strings.Contains(text, "-dsn") || !strings.Contains(text, "1045") {
		t.Errorf("%v: %s", err, text)
	}
	if strings.Contains(text, "sesame") {
		t.Errorf("it tells the password: %s", text)
	}
}
