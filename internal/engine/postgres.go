package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// PostgresUser is the role that a PostgreSQL has for its clients. It is no
// superuser, so the last connections are kept from it.
const PostgresUser = "app"

// PostgresURL is where a user finds the database of a PostgreSQL at an
// address: its own or that of a proxy.
func PostgresURL(user, address string) string {
	return "postgres://" + user + "@" + address + "/postgres?sslmode=disable"
}

// Postgres starts a PostgreSQL that allows limit clients, the one by which it
// is asked aside.
func Postgres(ctx context.Context, limit int) (*Engine, error) {
	binary := func(name string) string {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name) // Debian keeps them out of the way
		if len(found) == 0 {
			found = append(found, name)
		}
		path, _ := exec.LookPath(found[len(found)-1])
		return path
	}
	server, initdb := binary("postgres"), binary("initdb")
	if server == "" || initdb == "" {
		return nil, fmt.Errorf("postgres: %w", ErrMissing)
	}
	return launch(ctx, func(folder, address string) (*Engine, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		owner, err := nobody(folder)
		if err != nil {
			return nil, err
		}
		data := filepath.Join(folder, "data")
		setUp := exec.CommandContext(ctx, initdb, "--pgdata", data, "--username", "postgres", "--auth", "trust", "--no-sync")
		setUp.SysProcAttr, setUp.Dir = owner, folder
		if out, err := setUp.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("engine: initdb: %w\n%s", err, out)
		}
		return &Engine{
			Name: "postgres",
			command: func() *exec.Cmd {
				cmd := exec.Command(server, "-D", data, "-p", port, "-k", folder)
				for _, setting := range []string{
					"listen_addresses=" + host, "fsync=off", "superuser_reserved_connections=3",
					"max_connections=" + strconv.Itoa(limit+3), "autovacuum=off",
				} {
					cmd.Args = append(cmd.Args, "-c", setting)
				}
				cmd.Dir = folder
				if owner != nil {
					cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner.Credential}
				}
				return cmd
			},
			admin: &postgresAdmin{address: address},
		}, nil
	})
}

// nobody says as whom PostgreSQL is to run, and gives that user the folder:
// it does not run as root.
func nobody(folder string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2, os.Chown(folder, uid, gid)); err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

type postgresAdmin struct {
	address string

	mu   sync.Mutex
	conn *pgx.Conn
	role bool
}

// ask asks by the one connection, and by a new one if that has ended.
func (a *postgresAdmin) ask(ctx context.Context, query string, args ...any) (n int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn == nil || a.conn.IsClosed() {
		if a.conn, err = pgx.Connect(ctx, PostgresURL("postgres", a.address)+"&connect_timeout=2"); err != nil {
			return 0, err
		}
	}
	if !a.role {
		if _, err := a.conn.Exec(ctx, "create role "+PostgresUser+" login"); err != nil {
			return 0, err
		}
		a.role = true
	}
	err = a.conn.QueryRow(ctx, query, args...).Scan(&n)
	return n, err
}

func (a *postgresAdmin) ping(ctx context.Context) error {
	_, err := a.ask(ctx, "select 1")
	return err
}

const others = "from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"

func (a *postgresAdmin) connections(ctx context.Context) (int, error) {
	return a.ask(ctx, "select count(*) "+others)
}

func (a *postgresAdmin) terminate(ctx context.Context, n int) error {
	_, err := a.ask(ctx, "select count(pg_terminate_backend(pid)) from (select pid "+others+" order by random() limit $1) as chosen", n)
	return err
}

func (a *postgresAdmin) totals(ctx context.Context) (t Totals, err error) {
	if t.Sessions, err = a.ask(ctx, "select sessions from pg_stat_database where datname = current_database()"); err != nil {
		return Totals{}, err
	}
	t.Served, err = a.ask(ctx, "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()")
	return t, err
}

func (a *postgresAdmin) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // the server may hang: without a farewell
		_ = a.conn.Close(ctx)
	}
}
