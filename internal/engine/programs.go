package engine

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
)

// ErrMissing says that a program is not installed.
var ErrMissing = errors.New("not installed")

// Program is one that tests start.
type Program struct {
	Name    string
	Package string // Debian's
	Tests   string // what is tested with it
	paths   string // a pattern, tried before PATH: Debian keeps some out of the way
}

// programs are all of them.
var programs = []Program{
	{"redis-server", "redis-server", "redisconn, of Redis under faults and of the examples chat, quickstart and rotate", ""},
	{"postgres", "postgresql", "pgxconn and of PostgreSQL under faults", "/usr/lib/postgresql/*/bin/postgres"},
	{"mariadbd", "mariadb-server", "sqlpools on MariaDB", "/usr/sbin/mariadbd"},
	{"rabbitmq-server", "rabbitmq-server", "amqpchan", "/usr/lib/rabbitmq/bin/rabbitmq-server"}, // that of PATH goes by systemd and the user rabbitmq
	{"pgbouncer", "pgbouncer", "pgxconn behind PgBouncer", "/usr/sbin/pgbouncer"},
	{"haproxy", "haproxy", "pools behind HAProxy", "/usr/sbin/haproxy"},
	{"stunnel4", "stunnel4", "pools behind stunnel", ""},
	{"chromium", "chromium", "the debug page and of the examples chat and tabs", ""},
	{"wat2wasm", "wabt", "the example wazero", ""},
	{"prometheus", "prometheus", "prompools with a Prometheus, and of the alerts", ""},
}

// Missing returns the programs that are not installed.
func Missing() (missing []Program) {
	for _, p := range programs {
		if _, err := Find(p.Name); err != nil {
			missing = append(missing, p)
		}
	}
	return missing
}

// Find returns the path of a program, or ErrMissing.
func Find(name string) (string, error) {
	for _, p := range programs {
		if p.Name != name {
			continue
		}
		found, _ := filepath.Glob(p.paths)
		found = append([]string{name}, found...)
		for i := len(found) - 1; i >= 0; i-- { // the newest, and PATH last
			if path, err := exec.LookPath(found[i]); err == nil {
				return path, nil
			}
		}
		return "", fmt.Errorf("engine: %s, of Debian's package %s: %w", name, p.Package, ErrMissing)
	}
	return "", fmt.Errorf("engine: %s is none of its programs", name)
}
