package pgxconn

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// life is what the connector knows of a connection. pgx keeps it with the
// connection.
type life struct {
	// cancelled: a ctx ended in the middle of a query. pgx tells that only its
	// watcher's handler, in a goroutine of its own.
	cancelled atomic.Bool

	reported map[string]string // RuntimeParams as the server reported them at Open

	direct        bool   // to PostgreSQL itself
	session, mark string // else: pg_backend_pid() at Open, and what is left in the session

	readOnly string // default_transaction_read_only as it was reported at Open
	doubted  bool   // a write was refused; Reset asks the server why
}

const lifeKey = "github.com/utopia-go/pools/pgxconn"

func noteLives(config *pgx.ConnConfig) {
	build := config.BuildContextWatcherHandler
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		l := new(life)
		if _, hijacked := conn.CustomData()[lifeKey]; !hijacked { // and made a connection again, by its user
			conn.CustomData()[lifeKey] = l
		}
		return &noter{build(conn), l}
	}
}

// lifeOf returns an empty life for a connection that Open has not made.
func lifeOf(conn *pgx.Conn) *life {
	if l, ok := conn.PgConn().CustomData()[lifeKey].(*life); ok {
		return l
	}
	return new(life)
}

func cancelled(conn *pgx.Conn) bool { return lifeOf(conn).cancelled.Load() }

type noter struct {
	ctxwatch.Handler
	life *life
}

func (n *noter) HandleCancel(ctx context.Context) {
	n.life.cancelled.Store(true)
	n.Handler.HandleCancel(ctx)
}
