package redisconn

import (
	"strings"
	"testing"

	"github.com/gomodule/redigo/redis"
)

// The end of a transaction is believed only when Redis has not refused it.
func TestWhatIsLeft(t *testing.T) {
	for commands, want := range map[string]state{
		"GET, SET, EVAL":                  0,
		"MULTI, SET":                      multi,
		"MULTI, SET, EXEC":                0,
		"MULTI, EXEC refused":             multi,
		"multi, set, discard":             0,
		"WATCH, MULTI, EXEC":              0,
		"WATCH, GET":                      watches,
		"Watch, unwatch":                  0,
		"MULTI, UNWATCH":                  multi,
		"SELECT, MULTI, EXEC":             other,
		"CLIENT:setname":                  other,
		"CLIENT:id, SCRIPT:load":          0,
		"CLIENT:no-evict":                 lasting,
		"SCRIPT:debug":                    lasting,
		"SUBSCRIBE, UNSUBSCRIBE":          other,
		"WATCH, MULTI, EXEC, WATCH":       watches,
		" select ":                        other,
		"SELECT, UNWATCH, WATCH, MONITOR": other | watches,
	} {
		c := new(Conn)
		for command := range strings.SplitSeq(commands, ", ") {
			command, refused := strings.CutSuffix(command, " refused")
			name, argument, _ := strings.Cut(command, ":")
			_, _ = c.do(name, []any{[]byte(argument)}, func() (any, error) {
				if refused {
					return nil, redis.Error("ERR")
				}
				return "OK", nil
			})
		}
		if got := c.left.Load(); got != want {
			t.Errorf("%s: %04b is left, want %04b", commands, got, want)
		}
	}
}

func BenchmarkNote(b *testing.B) {
	c, args := new(Conn), []any{"key"}
	for b.Loop() {
		c.note("GET", args)
	}
}
