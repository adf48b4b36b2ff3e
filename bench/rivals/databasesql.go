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
	What: "its pool alone, over a driver that does nothing: DB.Conn and Conn.Close",
	Real: reflect.TypeFor[sql.DB](),
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
		c, err := o.db.Conn(ctx)
		if err != nil {
			return err
		}
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (o sqlDB) Do(ctx context.Context, work func()) error {
	c, err := o.db.Conn(ctx)
	if err != nil {
		return err
	}
	work()
	return c.Close()
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
