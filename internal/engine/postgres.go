package engine

import (
	"context"
	"errors"
	"fmt"
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
	return startPostgres(ctx, limit, "initdb", func(data string) []string {
		return []string{"--pgdata", data, "--username", "postgres", "--auth", "trust", "--no-sync"}
	})
}

// PostgresStandby starts a hot standby of a PostgreSQL that allows limit clients,
// too. Promote ends its dependence.
func PostgresStandby(ctx context.Context, primary *Engine, limit int) (*Engine, error) {
	return startPostgres(ctx, limit, "pg_basebackup", func(data string) []string {
		return []string{"--pgdata", data, "--dbname", PostgresURL("postgres", primary.Address), "--checkpoint", "fast", "--write-recovery-conf", "--no-sync"}
	})
}

// Promote makes a standby a primary, and returns when it is one.
func Promote(ctx context.Context, standby *Engine) error {
	a, ok := standby.admin.(*postgresAdmin)
	if !ok {
		return fmt.Errorf("engine: %s has no standbys: %w", standby.Name, errors.ErrUnsupported)
	}
	_, err := a.ask(ctx, "select pg_promote()::int")
	return err
}

// startPostgres starts a PostgreSQL whose folder of data a tool of its own makes.
func startPostgres(ctx context.Context, limit int, tool string, args func(data string) []string) (*Engine, error) {
	server, err := Find("postgres")
	if err != nil {
		return nil, err
	}
	maker := filepath.Join(filepath.Dir(server), tool)
	return launch(ctx, func(folder, address, host, port string) (*Engine, error) {
		owner, err := nobody(folder, "postgres")
		if err != nil {
			return nil, err
		}
		data := filepath.Join(folder, "data")
		setUp := as(owner, folder, exec.CommandContext(ctx, maker, args(data)...))
		if out, err := setUp.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("engine: %s: %w\n%s", tool, err, out)
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
				return as(owner, folder, cmd)
			},
			admin: &postgresAdmin{address: address, role: tool != "initdb"}, // a copy has it
		}, nil
	})
}

// nobody says as whom a server is to run that does not run as root, and gives that
// user the folder: its own if there is one, or else nobody.
func nobody(folder, own string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(own)
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

// as has a command run as that user (nil: as the caller) in that folder.
func as(owner *syscall.SysProcAttr, folder string, cmd *exec.Cmd) *exec.Cmd {
	cmd.Dir = folder
	if owner != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner.Credential}
	}
	return cmd
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
