//lint:file-ignore SA1019 drivers of before Go 1.8 have only these methods

package sqlpools

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/utopia-go/pools"
)

// Options says what this package does beside the pool. The zero value is useful.
type Options struct {
	// Statements is how many prepared statements a connection keeps. 0: 64.
	// Negative: none. Each of them takes memory of the server.
	Statements int

	// Clean makes a connection as it was when it was opened, after each use and
	// before the next user gets it: it ends what the user has SET, temporary tables,
	// locks. It runs in the background, within Settings.ResetTimeout, after a
	// transaction that was left open has been rolled back; an error closes the
	// connection. conn is the driver's own; [Exec] runs a statement on it. Nil: the
	// next user finds what was left, as with database/sql.
	Clean func(ctx context.Context, conn driver.Conn) error

	// Abort interrupts a connection while somebody uses it: for RevokeAll, Revoke
	// and a Close that runs out of time. conn is the driver's own. Nil: the pool waits
	// for the users.
	Abort func(conn driver.Conn)
}

const defaultStatements = 64

// Open is OpenDB for a driver that was registered under a name, as for [sql.Open].
// It opens no connection.
func Open(name, driverName, dsn string, settings pools.Settings, options Options) (*sql.DB, *pools.Pool[driver.Conn], error) {
	db, err := sql.Open(driverName, dsn) // there is no other way to a registered driver
	if err != nil {
		return nil, nil, err
	}
	d := db.Driver()
	if err := db.Close(); err != nil {
		return nil, nil, err
	}
	var c driver.Connector = dsnConnector{dsn, d}
	if d, ok := d.(driver.DriverContext); ok {
		if c, err = d.OpenConnector(dsn); err != nil {
			return nil, nil, err
		}
	}
	return OpenDB(name, c, settings, options)
}

// dsnConnector is a driver without connectors of its own.
type dsnConnector struct {
	dsn    string
	driver driver.Driver
}

func (c dsnConnector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c dsnConnector) Driver() driver.Driver                        { return c.driver }

// OpenDB returns a *sql.DB on a pool of the connector's connections, and the pool.
// It opens no connection. Settings.Size is required. Closing the *sql.DB closes the
// pool, and the connector if it is an [io.Closer].
func OpenDB(name string, c driver.Connector, settings pools.Settings, options Options) (*sql.DB, *pools.Pool[driver.Conn], error) {
	own, err := Connector(c, options)
	if err != nil {
		return nil, nil, err
	}
	pool, err := pools.New(name, own, settings)
	if err != nil {
		return nil, nil, err
	}
	below := &connector{Connector: c, pool: pool}
	below.db = sql.OpenDB(below)
	below.db.SetMaxIdleConns(settings.Size) // logical connections, which hold none of the pool's
	return below.db, pool, nil
}

// Connector returns the connector of the pool that OpenDB makes: for a pool of a
// driver's connections without a *sql.DB, by [pools.New]. Its connections Prepare and
// Begin like those of a *sql.DB: a transaction that was begun so and left open is rolled
// back. [Unwrap] reaches the driver's own, with all its methods; what is begun there
// only Options.Clean ends. The driver's ResetSession is not called, and c is not closed.
func Connector(c driver.Connector, options Options) (pools.Connector[driver.Conn], error) {
	if c == nil {
		return pools.Connector[driver.Conn]{}, errors.New("sqlpools: the connector is nil; give one of the driver's, or use Open")
	}
	if options.Statements == 0 {
		options.Statements = defaultStatements
	}
	return below(c, options), nil
}

// connector is what the *sql.DB has.
type connector struct {
	driver.Connector
	pool *pools.Pool[driver.Conn]
	db   *sql.DB
}

// Connect is called when there is no idle logical connection.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	p, conn, ok := c.tryTake(ctx)
	if !ok {
		var err error
		if p, conn, err = c.take(ctx); err != nil {
			return nil, err
		}
	}
	// With SetMaxOpenConns, database/sql's own goroutine calls Connect for those that
	// wait there. When they have left it would keep what it has got, unused.
	st := c.db.Stats()
	shared := st.MaxOpenConnections > 0 || st.WaitCount > 0
	if shared {
		c.db.SetMaxIdleConns(-1)
	}
	return newLogical(logical{c: c, ctx: ctx, p: p, conn: conn, waited: !ok, spare: shared}), nil
}

// isLimited reports whether SetMaxOpenConns is set. It locks the *sql.DB, which locks a
// connection under that only if nobody uses it.
func (c *connector) isLimited() bool { return c.db.Stats().MaxOpenConnections > 0 }

// take pops. database/sql calls the driver's ResetSession when it takes one of its own
// idle connections; these are ours.
func (c *connector) take(ctx context.Context) (*physical, pools.Conn[driver.Conn], error) {
	for { // a connection that is bad goes, so at most as often as there are some
		conn, err := c.pool.Pop(ctx)
		if err != nil {
			return nil, conn, hide(err)
		}
		if p := conn.Resource().(*physical); p.resetSession(ctx, conn) {
			return p, conn, nil
		}
	}
}

// tryTake is take without waiting.
func (c *connector) tryTake(ctx context.Context) (*physical, pools.Conn[driver.Conn], bool) {
	for {
		conn, ok := c.pool.TryPop()
		if !ok {
			return nil, conn, false
		}
		if p := conn.Resource().(*physical); p.resetSession(ctx, conn) {
			return p, conn, true
		}
	}
}

// Close is called by that of the *sql.DB.
func (c *connector) Close() error {
	err := c.pool.Close(context.Background())
	if closer, ok := c.Connector.(io.Closer); ok {
		err = errors.Join(err, closer.Close())
	}
	return err
}

// hidden is an error that database/sql must not take for driver.ErrBadConn: it would
// call Connect again, at once, twice.
type hidden struct{ error }

func (h hidden) Is(target error) bool {
	return target != driver.ErrBadConn && errors.Is(h.error, target)
}
func (h hidden) As(target any) bool { return errors.As(h.error, target) }

func hide(err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		return hidden{err}
	}
	return err
}

// Raw calls f with the driver's own connection of a *sql.Conn, as [sql.Conn.Raw] does
// without this package. f must not keep it.
func Raw(conn *sql.Conn, f func(conn driver.Conn) error) error {
	return conn.Raw(func(c any) error {
		own, ok := c.(driver.Conn)
		if !ok {
			return fmt.Errorf("sqlpools: Raw: a %T is no connection", c)
		}
		if c, ok := c.(interface{ use() (*physical, error) }); ok {
			if _, err := c.use(); err != nil {
				return err
			}
		}
		return f(Unwrap(own))
	})
}

// Unwrap returns the driver's own connection of one that this package made: of a Use
// of the pool, or of [sql.Conn.Raw]. Any other it returns as it is.
func Unwrap(conn driver.Conn) driver.Conn {
	if c, ok := conn.(interface{ below() driver.Conn }); ok {
		return cmp.Or(c.below(), conn)
	}
	return conn
}

// Exec runs a statement without arguments on a driver's own connection, by whichever
// way its driver has. It is for Options.Clean.
func Exec(ctx context.Context, conn driver.Conn, query string) error {
	err := driver.ErrSkip
	switch c := conn.(type) {
	case driver.ExecerContext:
		_, err = c.ExecContext(ctx, query, nil)
	case driver.Execer:
		_, err = c.Exec(query, nil)
	}
	if err != driver.ErrSkip { // database/sql compares so, too
		return err
	}
	s, err := prepare(ctx, conn, query)
	if err != nil {
		return err
	}
	_, err = execStmt(ctx, s, nil)
	return errors.Join(err, s.Close())
}
