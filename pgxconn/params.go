package pgxconn

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Those that a server reports whenever they change, and that a login may set.
var reportedParams = []string{
	"application_name", "client_encoding", "DateStyle", "IntervalStyle",
	"search_path", "standard_conforming_strings", "TimeZone",
}

// reports returns those of RuntimeParams that the server reports, as it does.
func (o Options) reports(conn *pgx.Conn) map[string]string {
	found := make(map[string]string)
	for given := range conn.Config().RuntimeParams {
		for _, name := range reportedParams {
			if value := conn.PgConn().ParameterStatus(name); value != "" && strings.EqualFold(given, name) {
				found[name] = value
			}
		}
	}
	return found
}

// setAgain sets those of RuntimeParams that the cleaning has changed.
func setAgain(ctx context.Context, conn *pgx.Conn) error {
	reported := lifeOf(conn).reported
	var calls []string
	var args [][]byte
	for _, name := range slices.Sorted(maps.Keys(reported)) {
		if value := reported[name]; conn.PgConn().ParameterStatus(name) != value {
			calls = append(calls, fmt.Sprintf("set_config($%d, $%d, false)", len(args)+1, len(args)+2))
			args = append(args, []byte(name), []byte(value))
		}
	}
	if len(calls) == 0 {
		return nil
	}
	sql := "select " + strings.Join(calls, ", ")
	if err := conn.PgConn().ExecParams(ctx, sql, args, nil, nil, nil).Read().Err; err != nil {
		return fmt.Errorf("pgxconn: setting RuntimeParams again: %w", err)
	}
	return nil
}

// settings returns what a session has SET, and its value; nil if the cleaning
// keeps it or the server cannot tell.
func settings(ctx context.Context, conn *pgx.Conn, cleaning Cleaning) map[string]string {
	if cleaning == Rollback {
		return nil
	}
	results, err := conn.PgConn().Exec(ctx, beginning+
		"select name, coalesce(setting, '') from pg_settings where source = 'session'; commit").ReadAll()
	if err != nil {
		if conn.PgConn().TxStatus() != outside {
			_ = run(ctx, conn, "rollback")
		}
		return nil
	}
	set := make(map[string]string)
	for _, result := range results {
		for _, row := range result.Rows {
			set[string(row[0])] = string(row[1])
		}
	}
	return set
}

// lost returns the names of what was SET between the two.
func lost(before, after map[string]string) (names []string) {
	if before == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if value, was := before[name]; !was || value != after[name] {
			names = append(names, name)
		}
	}
	return names
}
