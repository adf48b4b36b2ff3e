package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
)

// options are what the flags say.
type options struct {
	database database
	pool     string // "pools" or "sql"
	size     int
	listen   string
	debug    string // where the pool's page is served; "": nowhere
	deadline time.Duration
	load     int // clients; 0: it serves
	during   time.Duration
}

// database is where the orders are, as its driver wants to be told.
type database struct{ name, driver, dsn string }

const (
	sqlite     = "SQLite"
	mariaDB    = "MariaDB"
	postgreSQL = "PostgreSQL"
)

// parse reads the flags. Each of its errors is one line. It writes the help to stdout
// and then returns flag.ErrHelp.
func parse(args []string, stdout io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("orders", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error is returned and printed once
	dsn := flags.String("dsn", "", "a `database`: mysql://USER:PASSWORD@HOST:PORT/NAME for MariaDB and MySQL, or\n"+
		"postgres://USER:PASSWORD@HOST:PORT/NAME; the tables example_orders and\n"+
		"example_products are made in it, and stay (default: an SQLite in a temporary file)")
	flags.StringVar(&o.pool, "pool", "pools", "the pool below GORM: `pools`, or sql for database/sql's own")
	flags.IntVar(&o.size, "size", 0, "how many connections may be open at once (default: 1 with SQLite, which has\n"+
		"one writer at a time, and otherwise 10)")
	flags.StringVar(&o.listen, "listen", "", "serve at an `address` (default: 127.0.0.1:8080, and with -load a free port)")
	flags.StringVar(&o.debug, "debug", "", "serve the page of the pool at an `address` as :6060 (default: a free port, and\n"+
		"with -load nowhere)")
	flags.DurationVar(&o.deadline, "deadline", 250*time.Millisecond, "the longest that a request may take")
	flags.IntVar(&o.load, "load", 0, "have so many `clients` use the service for a while, and end with a table")
	flags.DurationVar(&o.during, "for", 5*time.Second, "how long the clients of -load go on")

	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(stdout, "Usage of orders:")
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return o, err
	case err != nil:
		return o, err
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q; there are only flags, see -h", flags.Arg(0))
	case o.pool != "pools" && o.pool != "sql":
		return o, fmt.Errorf("-pool is %q; give pools, or sql for database/sql's own", o.pool)
	case given(flags, "size") && o.size < 1:
		return o, fmt.Errorf("-size is %d; give at least 1", o.size)
	case o.load < 0:
		return o, fmt.Errorf("-load is %d; give at least 1 client, or leave it out to serve", o.load)
	case o.during <= 0:
		return o, fmt.Errorf("-for is %v; give more than zero, like 5s", o.during)
	case o.deadline <= 0:
		return o, fmt.Errorf("-deadline is %v; give more than zero, like 250ms", o.deadline)
	}
	if o.listen == "" {
		o.listen = "127.0.0.1:8080"
		if o.load > 0 {
			o.listen = "127.0.0.1:0"
		}
	}
	if o.debug == "" && o.load == 0 {
		o.debug = ":0"
	}
	o.database = database{name: sqlite, driver: "sqlite"}
	if given(flags, "dsn") { // an empty one is wrong too
		if o.database, err = parseDSN(*dsn); err != nil {
			return o, fmt.Errorf("-dsn %w", err)
		}
	}
	if o.size == 0 {
		o.size = 10
		if o.database.name == sqlite {
			o.size = 1
		}
	}
	return o, nil
}

func given(flags *flag.FlagSet, name string) (found bool) {
	flags.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// parseDSN says which database a URL means. Its errors do not repeat text: there may be
// a password in it.
func parseDSN(text string) (database, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || strings.Trim(u.Path, "/") == "" {
		return database{}, errors.New("is not a URL like postgres://USER:PASSWORD@HOST:PORT/NAME or mysql://USER:PASSWORD@HOST:PORT/NAME; write special characters of the password as %XX")
	}
	switch u.Scheme {
	case "postgres", "postgresql":
		if _, err := pgx.ParseConfig(text); err != nil {
			return database{}, errors.New("has a parameter that PostgreSQL does not take; see its page on connection strings")
		}
		return database{postgreSQL, "pgx", text}, nil
	case "mysql", "mariadb":
		config := mysql.NewConfig()
		config.User = u.User.Username()
		config.Passwd, _ = u.User.Password()
		config.Net, config.Addr = "tcp", u.Host
		if u.Port() == "" {
			config.Addr = net.JoinHostPort(u.Hostname(), "3306")
		}
		config.DBName = strings.Trim(u.Path, "/")
		config.ParseTime = true
		dsn := config.FormatDSN()
		if u.RawQuery != "" {
			dsn += "&" + u.RawQuery // there is parseTime already
		}
		if _, err := mysql.ParseDSN(dsn); err != nil {
			return database{}, errors.New("has a parameter that the driver of MySQL does not take; see the README of go-sql-driver/mysql")
		}
		return database{mariaDB, "mysql", dsn}, nil
	}
	return database{}, fmt.Errorf("is a URL of scheme %q; give postgres:// or mysql://", u.Scheme)
}
