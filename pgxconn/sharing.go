package pgxconn

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/utopia-go/pools"
)

// sharing is what a connector knows of a proxy that shares sessions among its
// clients: PgBouncer in transaction mode. Nothing tells that mode until it happens.
// So each connection that has a proxy in between leaves its mark in the session
// that it cleans. When it cleans again and is in another session, or finds the mark
// of another connection, the session is shared: in session mode a proxy gives
// a session to nobody else before the connection ends, and ends the connection with
// it. That two connections have had one session proves nothing: the first may have
// ended without our knowing.
type sharing struct {
	seen atomic.Int64 // when it was last seen, in Unix nanoseconds
}

// sharedFor is how long no connection is opened or kept after sessions were seen to
// be shared. It ends so that an operator who changes the proxy's mode need not
// restart the program.
const sharedFor = time.Minute

func (s *sharing) recently() bool { return time.Since(time.Unix(0, s.seen.Load())) < sharedFor }

var errShared = errors.New("pgxconn: a proxy gives each transaction another session of PostgreSQL, as PgBouncer does in transaction mode, " +
	"so what one user SETs reaches others and no cleaning can undo it; set Options.Cleaning to Rollback and have no user leave anything in the session, " +
	"or use the proxy's session mode")

// Parts of what cleans a session; see session. The answer of each is in its last
// column.
const (
	theMark    = "select coalesce(current_setting('pgxconn.connection', true), ''); "
	theSession = "select pg_backend_pid(); "
)

// marks returns what leaves a connection's mark.
func (l *life) marks() string {
	if l.mark == "" {
		return ""
	}
	return "select set_config('pgxconn.connection', '" + l.mark + "', false); "
}

// marked returns what asks for the mark.
func (l *life) marked() string {
	if l.mark == "" {
		return ""
	}
	return theMark
}

// sameSession returns an error if a connection that was just cleaned shares its
// session, or another one of the connector has been seen to. found is what it was
// told: the mark, if there is one, and the session. Behind a proxy the process
// that the login's answer names is the proxy's invention.
func (o Options) sameSession(ctx context.Context, conn *pgx.Conn, found []string) error {
	l := lifeOf(conn)
	if l.direct {
		return nil
	}
	mark, session := "", ""
	switch {
	case l.mark == "" && len(found) == 1:
		session = found[0]
	case l.mark != "" && len(found) == 3: // it is told again when it is left
		mark, session = found[0], found[1]
	default:
		return nil // no server that we know
	}
	switch {
	case l.mark != "" && (session != l.session || mark != l.mark && mark != ""): // it is gone after a RESET ALL
		o.shared.seen.Store(time.Now().UnixNano())
		return errShared
	case l.mark != "":
		if o.shared.recently() {
			return errShared
		}
	case session == strconv.FormatUint(uint64(conn.PgConn().PID()), 10):
		l.direct = true
	case o.shared.recently():
		return pools.Permanent(errShared)
	default:
		l.session, l.mark = session, rand.Text()
		return run(ctx, conn, beginning+l.marks()+"commit")
	}
	return nil
}

// answered returns the last column of each row.
func answered(results []*pgconn.Result) (found []string) {
	for _, r := range results {
		for _, row := range r.Rows {
			found = append(found, string(row[len(row)-1]))
		}
	}
	return found
}
