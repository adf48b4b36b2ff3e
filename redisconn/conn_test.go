package redisconn

import (
	"strings"
	"testing"
)

func TestWhatIsLeft(t *testing.T) {
	for commands, want := range map[string]state{
		"GET, SET, EVAL":                  0,
		"MULTI, SET":                      multi,
		"MULTI, SET, EXEC":                0,
		"multi, set, discard":             0,
		"WATCH, MULTI, EXEC":              0,
		"WATCH, GET":                      watches,
		"Watch, unwatch":                  0,
		"MULTI, UNWATCH":                  multi,
		"SELECT, MULTI, EXEC":             other,
		"CLIENT:setname":                  other,
		"CLIENT:id, SCRIPT:load":          0,
		"CLIENT:no-evict":                 lasting,
		"SUBSCRIBE, UNSUBSCRIBE":          other,
		"WATCH, MULTI, EXEC, WATCH":       watches,
		" select ":                        other,
		"SELECT, UNWATCH, WATCH, MONITOR": other | watches,
	} {
		c := new(Conn)
		for _, command := range strings.Split(commands, ", ") {
			name, argument, _ := strings.Cut(command, ":")
			c.note(name, []any{argument})
		}
		if c.left != want {
			t.Errorf("%s: %03b is left, want %03b", commands, c.left, want)
		}
	}
}

func BenchmarkNote(b *testing.B) {
	c, args := new(Conn), []any{"key"}
	for b.Loop() {
		c.note("GET", args)
	}
}
