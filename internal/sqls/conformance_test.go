package sqls

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/internal/proxy"
	"github.com/utopia-go/pools/poolstest"
	"github.com/utopia-go/pools/sqlpools"
)

// login is whom a connection is for.
type login struct{ user, password, database, address string }

const conformancePassword = "open sesame/50%"

// logins make each driver's connector.
var logins = map[string]func(t *testing.T, l login, d *dialer) driver.Connector{
	"mysql": func(t *testing.T, l login, d *dialer) driver.Connector {
		config := engine.MariaDBConfig(l.user, l.address)
		config.Passwd, config.DBName, config.DialFunc = l.password, l.database, d.DialContext
		config.RejectReadOnly = true // a failover
		c, err := mysql.NewConnector(config)
		return must(t, c, err)
	},
	"pgx": func(t *testing.T, l login, d *dialer) driver.Connector {
		config, err := pgx.ParseConfig(engine.PostgresURL(l.user, l.address))
		must(t, config, err).DialFunc = d.DialContext
		config.Password, config.Database = l.password, l.database
		return stdlib.GetConnector(*config)
	},
	"pq": func(t *testing.T, l login, d *dialer) driver.Connector {
		c, err := pq.NewConnector(fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", l.user, "open%20sesame%2f50%25", l.address, l.database))
		must(t, c, err).Dialer(d)
		return c
	},
}

// does runs statements on the driver's own connection.
func does(queries ...string) func(context.Context, driver.Conn) error {
	return func(ctx context.Context, conn driver.Conn) error {
		for _, q := range queries {
			if err := sqlpools.Exec(ctx, sqlpools.Unwrap(conn), q); err != nil {
				return err
			}
		}
		return nil
	}
}

// finds returns an error unless a query has that one value.
func finds(want, query string) func(context.Context, driver.Conn) error {
	return func(ctx context.Context, conn driver.Conn) error {
		rows, err := sqlpools.Unwrap(conn).(driver.QueryerContext).QueryContext(ctx, query, nil)
		if err != nil {
			return err
		}
		defer rows.Close()
		values := make([]driver.Value, 1)
		if err := rows.Next(values); err != nil {
			return err
		}
		got := fmt.Sprint(values[0])
		if text, is := values[0].([]byte); is {
			got = string(text)
		}
		if got != want {
			return fmt.Errorf("%s: %q, want %q", query, got, want)
		}
		if err := rows.Next(values); err != io.EOF {
			return fmt.Errorf("%s: more than one row, %w", query, err)
		}
		return nil
	}
}

// The connector below a *sql.DB keeps what a pool relies on, with the drivers that most
// programs use.
func TestConformance(t *testing.T) {
	each(t, false, func(t *testing.T, s system) {
		s.endAll(t)
		e := s.server.engine(t)
		user := login{engine.PostgresUser, conformancePassword, "postgres", e.Address}
		if s.server == mariaDB {
			user.user, user.database = "careful", engine.MariaDBUser
			root := sql.OpenDB(logins["mysql"](t, login{user: "root", address: e.Address}, new(dialer)))
			run(t, root, "create user careful identified by '"+conformancePassword+"'", "grant all on app.* to careful")
			check(t, root.Close())
		}
		once := s.plain(t)
		run(t, once, "drop table if exists written", "create table written (a int)")
		check(t, once.Close())
		for _, cleans := range []bool{true, false} {
			if testing.Short() && !cleans {
				continue
			}
			t.Run(fmt.Sprintf("Clean=%t", cleans), func(t *testing.T) {
				poolstest.TestConnector(t, nil, func(t *testing.T) poolstest.Subject[driver.Conn] {
					return conformance(t, s, user, cleans)
				})
			})
		}
	})
}

func conformance(t *testing.T, s system, user login, cleans bool) poolstest.Subject[driver.Conn] {
	e := s.server.engine(t)
	p, err := proxy.Start(e.Address)
	check(t, err)
	t.Cleanup(func() { p.Close() })
	connector := func(change func(*login)) pools.Connector[driver.Conn] {
		l := user
		l.address = p.Address
		change(&l)
		d := new(dialer)
		options := sqlpools.Options{Abort: d.abort}
		if cleans {
			options.Clean = s.clean
		}
		c, err := sqlpools.Connector(watched{logins[s.name](t, l, d), d}, options)
		return must(t, c, err)
	}
	subject := poolstest.Subject[driver.Conn]{
		Connector: connector(func(*login) {}),
		Use:       does("delete from written where 1 = 0"), // a write
		Begin: func(ctx context.Context, conn driver.Conn) error {
			//lint:ignore SA1019 a driver.Conn has no other without more interfaces
			if _, err := conn.Begin(); err != nil {
				return err
			}
			return does("insert into written values (1)")(ctx, conn)
		},
		Write: does("insert into written values (1)"),
		Written: func() int {
			db := sql.OpenDB(s.connector(t, new(dialer)))
			defer db.Close()
			return number(t, ask(t, db, "select count(*) from written"))
		},
		Refused: does("no statement"),
		Block:   func(conn driver.Conn) error { return does(s.sleep)(context.Background(), conn) },
		Kill:    func(driver.Conn) { check(t, e.Terminate(t.Context(), 100)) },
		IsOpen: func() int {
			n, err := e.Connections(t.Context())
			check(t, err)
			return n
		},
		Silence: func() func() { p.Stall(); return p.Resume },
		Stop: func() func() {
			check(t, e.Stop())
			return func() { check(t, e.Continue()) }
		},
		Failing: map[string]pools.Connector[driver.Conn]{
			"a user that is none": connector(func(l *login) { l.user = "stranger" }),
			"no such database":    connector(func(l *login) { l.database = "none" }),
			"nobody who listens":  connector(func(l *login) { l.address = "127.0.0.1:1" }),
		},
		Secrets: []string{conformancePassword},
		Limit:   10 * time.Second, // other tests may have the machine
	}
	if s.name == "pq" {
		// When its ctx ends it asks the server to cancel, and waits for that.
		subject.Silence, subject.Stop = nil, nil
		// When its network connection is closed it does not ask, and the server goes on.
		subject.Block = func(conn driver.Conn) error {
			return does("set client_connection_check_interval = 50", s.sleep)(context.Background(), conn)
		}
	}
	if s.server == mariaDB {
		subject.Failing["a wrong password"] = connector(func(l *login) { l.password = "wrong " + conformancePassword })
		subject.Useless = does("set session transaction read only")
		subject.Dirty, subject.Clean = does("set @theirs = 1"), finds("1", "select @theirs is null")
	} else {
		subject.Dirty, subject.Clean = does("set application_name = 'theirs'"), finds("", "show application_name")
	}
	if !cleans {
		subject.Dirty, subject.Clean = nil, nil
	}
	return subject
}
