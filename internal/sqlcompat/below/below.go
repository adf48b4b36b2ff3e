//go:build sqlcompat

// Package below puts a pool under every *sql.DB of a test binary that imports it. Its
// database/sql is one with the variables Below and Own (see ../build.go), so it compiles
// nowhere else.
package below

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

func init() {
	size, err := strconv.Atoi(os.Getenv("SQLCOMPAT_SIZE"))
	if err != nil {
		return // without a pool
	}
	sql.Own = func(conn any) any {
		if c, ok := conn.(driver.Conn); ok {
			return sqlpools.Unwrap(c)
		}
		return conn
	}
	sql.Below = func(c driver.Connector) *sql.DB {
		if strings.HasPrefix(fmt.Sprintf("%T", c), "*sqlpools.") {
			return nil // OpenDB calls sql.OpenDB
		}
		db, _, err := sqlpools.OpenDB("sqlcompat", c, pools.Settings{Size: size}, sqlpools.Options{})
		if err != nil {
			panic(err)
		}
		count()
		return db
	}
}

// count adds one byte to a file for each *sql.DB.
func count() {
	f, err := os.OpenFile(os.Getenv("SQLCOMPAT_COUNT"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(".")
	}
	if err != nil {
		panic(err)
	}
	f.Close()
}
