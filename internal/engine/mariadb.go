package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"
)

// MariaDBUser is the account that a MariaDB has for its clients, without a password.
// It may do everything in the database of the same name, and nothing else.
const MariaDBUser = "app"

// MariaDBConfig is how a user reaches that database at an address: the server's own or
// that of a proxy.
func MariaDBConfig(user, address string) *mysql.Config {
	config := mysql.NewConfig()
	config.User, config.Net, config.Addr, config.DBName = user, "tcp", address, MariaDBUser
	config.Logger = &mysql.NopLogger{} // it would log each connection that the server has ended
	return config
}

// MariaDB starts a MariaDB that allows limit clients, the one by which it is asked
// aside, but at least 9: max_connections is at least 10.
func MariaDB(ctx context.Context, limit int) (*Engine, error) {
	server, err := Find("mariadbd")
	if err != nil {
		return nil, err
	}
	maker, err := exec.LookPath("mariadb-install-db")
	if err != nil {
		return nil, fmt.Errorf("engine: mariadb-install-db: %w", ErrMissing)
	}
	return launch(ctx, func(folder, address, host, port string) (*Engine, error) {
		owner, err := nobody(folder, "mysql")
		if err != nil {
			return nil, err
		}
		users := filepath.Join(folder, "users.sql")
		if err := os.WriteFile(users, []byte("flush privileges;\ncreate database app;\ncreate user app@'%';\ngrant all on app.* to app@'%';\n"), 0o644); err != nil {
			return nil, err
		}
		data := filepath.Join(folder, "data")
		setUp := as(owner, folder, exec.CommandContext(ctx, maker, "--no-defaults", "--datadir="+data, "--skip-test-db",
			"--skip-name-resolve", "--auth-root-authentication-method=normal", "--extra-file="+users))
		if out, err := setUp.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("engine: mariadb-install-db: %w\n%s", err, out)
		}
		root := MariaDBConfig("root", address)
		root.DBName, root.Timeout = "", 2*time.Second
		connector, err := mysql.NewConnector(root)
		if err != nil {
			return nil, err
		}
		db := sql.OpenDB(connector)
		db.SetMaxOpenConns(1)
		return &Engine{
			Name: "mariadb",
			command: func() *exec.Cmd {
				return as(owner, folder, exec.Command(server, "--no-defaults", "--datadir="+data, "--tmpdir="+folder,
					"--socket="+filepath.Join(folder, "s"), "--bind-address="+host, "--port="+port, "--skip-name-resolve",
					"--max-connections="+strconv.Itoa(limit+1), "--skip-log-bin", "--performance-schema=off",
					"--innodb-buffer-pool-size=16M", "--innodb-doublewrite=0", "--innodb-flush-log-at-trx-commit=0",
					"--innodb-flush-method=nosync"))
			},
			admin: mariaAdmin{db},
		}, nil
	})
}

type mariaAdmin struct{ db *sql.DB }

func (a mariaAdmin) ping(ctx context.Context) error { return a.db.PingContext(ctx) }

const mariaOthers = "from information_schema.processlist where user <> 'system user' and id <> connection_id()"

func (a mariaAdmin) connections(ctx context.Context) (n int, err error) {
	err = a.db.QueryRowContext(ctx, "select count(*) "+mariaOthers).Scan(&n)
	return n, err
}

func (a mariaAdmin) terminate(ctx context.Context, n int) error {
	rows, err := a.db.QueryContext(ctx, "select id "+mariaOthers+" order by rand() limit "+strconv.Itoa(n))
	if err != nil {
		return err
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		ids = append(ids, id)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, id := range ids {
		const noSuchThread = 1094 // it has left by itself
		_, err := a.db.ExecContext(ctx, "kill "+id)
		if e, is := errors.AsType[*mysql.MySQLError](err); err != nil && (!is || e.Number != noSuchThread) {
			return err
		}
	}
	return nil
}

func (a mariaAdmin) close() { a.db.Close() }
