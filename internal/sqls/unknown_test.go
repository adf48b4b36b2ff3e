package sqls

import (
	"database/sql/driver"
	"testing"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

// A transaction that sqlpools does not know of, because it was begun on the driver's
// own connection: no cleaning commits what it has written.
func TestTransactionOfTheDriversConnection(t *testing.T) {
	each(t, false, func(t *testing.T, s system) {
		db, _ := s.open(t, pools.Settings{Size: 1}, sqlpools.Options{Clean: s.clean})
		setUp(t, s, db)
		for _, begin := range []string{"begin", "start transaction read write"} {
			conn, err := db.Conn(t.Context())
			check(t, err)
			check(t, sqlpools.Raw(conn, func(conn driver.Conn) error {
				for _, q := range []string{begin, "insert into kept values (1)"} {
					if err := sqlpools.Exec(t.Context(), conn, q); err != nil {
						return err
					}
				}
				return nil
			}))
			check(t, conn.Close())
			if n := ask(t, db, "select count(*) from kept"); n != "0" {
				t.Errorf("%s: %s rows", begin, n)
			}
		}
	})
}
