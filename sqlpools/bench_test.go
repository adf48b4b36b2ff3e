package sqlpools_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

// quick is a driver that does nothing.
type quick struct{}

func (quick) Connect(context.Context) (driver.Conn, error) { return quick{}, nil }
func (quick) Driver() driver.Driver                        { return nil }
func (quick) Prepare(string) (driver.Stmt, error)          { return nil, nil }
func (quick) Begin() (driver.Tx, error)                    { return nil, nil }
func (quick) Close() error                                 { return nil }
func (quick) IsValid() bool                                { return true }
func (quick) ResetSession(context.Context) error           { return nil }
func (quick) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.ResultNoRows, nil
}

// What an Exec costs, without a pool below and with one.
func BenchmarkExec(b *testing.B) {
	for name, open := range map[string]func() (*sql.DB, error){
		"sql": func() (*sql.DB, error) { return sql.OpenDB(quick{}), nil },
		"pools": func() (*sql.DB, error) {
			db, _, err := sqlpools.OpenDB("db", quick{}, pools.Settings{Size: 10}, sqlpools.Options{})
			return db, err
		},
	} {
		b.Run(name, func(b *testing.B) {
			db, err := open()
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := db.ExecContext(b.Context(), "x"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
