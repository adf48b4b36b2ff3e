package pgxconn

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/utopia-go/pools"
)

// The package's doc has the table of these.
const (
	invalidParameterValue  = "22023"
	readOnlyTransaction    = "25006"
	noSuchStatement        = "26000"
	invalidAuthorization   = "28000"
	invalidPassword        = "28P01"
	noSuchDatabase         = "3D000"
	insufficientPrivilege  = "42501"
	undefinedObject        = "42704"
	queryCanceled          = "57014"
	copySource             = "CopyGetData" // where a COPY ends whose source has failed: nothing was cancelled
	defaultReadOnly        = "default_transaction_read_only"
	inHotStandby           = "in_hot_standby"
	remedyOfReadOnlyServer = "give the writer's address, or several hosts, or set Options.Replica for a pool that only reads"
)

var (
	errStandby  = errors.New("pgxconn: the server is a hot standby, which takes no writes; " + remedyOfReadOnlyServer)
	errReadOnly = errors.New("pgxconn: the server has become read-only (default_transaction_read_only is on); " + remedyOfReadOnlyServer)
)

// broken reports whether a connection must go.
func (o Options) broken(conn *pgx.Conn, err error) bool {
	if conn.IsClosed() || conn.PgConn().IsBusy() || cancelled(conn) {
		return true
	}
	e, is := errors.AsType[*pgconn.PgError](err)
	if !is {
		return false
	}
	switch e.Code {
	case queryCanceled:
		return e.Routine != copySource
	case noSuchStatement: // pgx believes that it has prepared others, too
		return true
	case readOnlyTransaction:
		if o.writable(conn) != nil {
			return true
		}
		lifeOf(conn).doubted = !o.Replica
	}
	return false
}

// refused marks the errors of a login that a further try would not change.
func (o Options) refused(err error) error {
	permanent := false
	for _, e := range answers(err) { // one for each host
		switch e.Code {
		case noSuchDatabase, insufficientPrivilege, invalidParameterValue, undefinedObject:
		case invalidPassword, invalidAuthorization:
			if o.BeforeConnect != nil || o.Config.OAuthTokenProvider != nil {
				return err // the next one may have another password
			}
		default:
			return err
		}
		permanent = true
	}
	if permanent {
		return pools.Permanent(err)
	}
	return err
}

// answers returns PostgreSQL's errors in err.
func answers(err error) (found []*pgconn.PgError) {
	switch e := err.(type) {
	case *pgconn.PgError:
		return append(found, e)
	case interface{ Unwrap() error }:
		return answers(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range e.Unwrap() {
			found = append(found, answers(e)...)
		}
	}
	return found
}

func notStandby(_ context.Context, conn *pgconn.PgConn) error {
	if conn.ParameterStatus(inHotStandby) == "on" {
		return errStandby
	}
	return nil
}

// writable returns an error if the server has reported that it takes no writes
// from a connection that is for writing.
func (o Options) writable(conn *pgx.Conn) error {
	if o.Replica {
		return nil
	}
	if err := notStandby(context.Background(), conn.PgConn()); err != nil {
		return err
	}
	if lifeOf(conn).readOnly == "off" && conn.PgConn().ParameterStatus(defaultReadOnly) == "on" {
		return errReadOnly
	}
	return nil
}

// stillWritable asks the server itself if a write was refused: it, or a proxy,
// may report nothing.
func (o Options) stillWritable(ctx context.Context, conn *pgx.Conn) error {
	l := lifeOf(conn)
	if l.doubted {
		l.doubted = false
		var standby, readOnly bool
		err := conn.QueryRow(ctx, "select pg_is_in_recovery(), current_setting('default_transaction_read_only')::bool",
			pgx.QueryExecModeSimpleProtocol).Scan(&standby, &readOnly)
		switch {
		case err != nil:
			return fmt.Errorf("pgxconn: asking whether the server takes writes: %w", err)
		case standby:
			return errStandby
		case readOnly && l.readOnly != "on":
			return errReadOnly
		}
	}
	return o.writable(conn)
}

// check also makes the server's reports up to date. It waits for no other
// transaction; see session.
func (o Options) check(ctx context.Context, conn *pgx.Conn) error {
	if err := run(ctx, conn, beginning+"select current_user; commit"); err != nil {
		return err
	}
	return o.writable(conn)
}

// uncleaned explains why a new connection could not be cleaned.
func (o Options) uncleaned(err error) error {
	e, is := errors.AsType[*pgconn.PgError](err)
	if !is || !strings.HasPrefix(e.Code, "42") && !strings.HasPrefix(e.Code, "0A") {
		return err
	}
	return pools.Permanent(fmt.Errorf("pgxconn: the server refuses the cleaning, so each use would cost a connection; "+
		"grant what it lacks, or set Options.Cleaning to another one (Rollback asks for least): %w", err))
}
