package rivals

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"reflect"
)

var databaseSQL = Rival{
	Name: "database/sql", Kind: Library,
	What: "over a driver that does nothing: DB.PingContext, which takes a connection and gives it back as queries do; the work is done in Ping",
	Real: reflect.TypeFor[sql.DB](), Package: "database/sql",
	New: func(size int, open func() *Resource) Pool {
		db := sql.OpenDB(noConnector{open})
		db.SetMaxOpenConns(size)
		db.SetMaxIdleConns(size)
		return sqlDB{db}
	},
}

type sqlDB struct{ db *sql.DB }

func (o sqlDB) Pairs(ctx context.Context, n int) error {
	for range n {
		if err := o.db.PingContext(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (o sqlDB) Do(ctx context.Context, work func()) error {
	return o.db.PingContext(working{ctx, work})
}

func (o sqlDB) Try(ctx context.Context, use func() error) error {
	c, err := o.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var broke error
	_ = c.Raw(func(any) error {
		if broke = use(); broke != nil {
			return driver.ErrBadConn
		}
		return nil
	})
	return broke
}

// working brings work to the driver's Ping.
type working struct {
	context.Context
	work func()
}

func (o sqlDB) Hold(ctx context.Context, n int) (func(), error) {
	return held(n, func() (*sql.Conn, error) { return o.db.Conn(ctx) }, func(c *sql.Conn) { _ = c.Close() })
}

func (o sqlDB) Close() { _ = o.db.Close() }

// noConnector and noConn are the driver.
type noConnector struct{ open func() *Resource }

func (c noConnector) Connect(context.Context) (driver.Conn, error) { return noConn{c.open()}, nil }
func (c noConnector) Driver() driver.Driver                        { return nil }

type noConn struct{ *Resource }

var errNothing = errors.New("this driver can do nothing")

func (noConn) Prepare(string) (driver.Stmt, error) { return nil, errNothing }
func (noConn) Begin() (driver.Tx, error)           { return nil, errNothing }
func (noConn) Close() error                        { return nil }

func (noConn) Ping(ctx context.Context) error {
	if w, ok := ctx.(working); ok {
		w.work()
	}
	return nil
}
