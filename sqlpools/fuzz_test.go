package sqlpools_test

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

// Any program on a driver of any shape gets the same answers through a pool as without
// one, however many statements are kept, and the driver is asked the same, apart from
// what is prepared and when that is closed.
func FuzzShapes(f *testing.F) {
	all := shapes()
	names := slices.Sorted(maps.Keys(calls))
	for i := range all {
		var program []byte
		for n := range names {
			program = append(program, byte((n+i)%len(names)))
		}
		f.Add(byte(i), int8(i%4-1), program)
	}
	f.Fuzz(func(t *testing.T, which byte, statements int8, program []byte) {
		shape := all[int(which)%len(all)]
		var todo []string
		for _, b := range program[:min(len(program), 64)] {
			todo = append(todo, names[int(b)%len(names)])
			if strings.Contains(todo[len(todo)-1], "bad") {
				break // after some more on end, the pool takes the server for down
			}
		}
		play := func(db *sql.DB, below *fake) (answers, asked []string) {
			answers = append(answers, fmt.Sprint(exec(db.ExecContext(t.Context(), "warm ?", 1))))
			for _, name := range todo {
				// The pool has a connection checked that fails five times on end.
				answers = append(answers, fmt.Sprintf("%s: %v, %v", name, calls[name](t.Context(), db), exec(db.ExecContext(t.Context(), "between"))))
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			for _, line := range below.logs() {
				if !strings.Contains(line, ": prepare") && !strings.Contains(line, ": close ") {
					asked = append(asked, line)
				}
			}
			return answers, asked
		}
		plain, pooled := &fake{shape: shape}, &fake{shape: shape}
		want, wantAsked := play(sql.OpenDB(plain), plain)
		db, pool, err := sqlpools.OpenDB("db", pooled, pools.Settings{Size: 1}, sqlpools.Options{Statements: int(statements)})
		if err != nil {
			t.Fatal(err)
		}
		got, gotAsked := play(db, pooled)
		if !slices.Equal(got, want) {
			t.Errorf("%s: a program gets\n%s\nand without a pool\n%s", shape.name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if !slices.Equal(gotAsked, wantAsked) {
			t.Errorf("%s: the driver is asked\n%s\nand without a pool\n%s", shape.name, strings.Join(gotAsked, "\n"), strings.Join(wantAsked, "\n"))
		}
		if st := pool.Stats(); st.Opened != st.Closed || st.Unfinished != 0 {
			t.Errorf("%s: %v", shape.name, st)
		}
	})
}
