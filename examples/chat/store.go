package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/gomodule/redigo/redis"
)

// message is what somebody says in a room, or, without a number, who is there.
type message struct {
	Number  int64    `json:"number,omitempty"` // 1, 2, 3 ... in its room
	User    string   `json:"user,omitempty"`
	Text    string   `json:"text,omitempty"`
	Present []string `json:"present,omitempty"`
}

// store is what the chat keeps in Redis.
type store struct{ backend }

const (
	remembered = 1000    // messages of a room
	channels   = "chat:" // a room's channel is this and its name
)

// In one script nothing comes between the number, the history and the
// publication: what is published of a room is in the order of its numbers.
var sayScript = redis.NewScript(2, `
local number = redis.call('INCR', KEYS[1])
local line = number .. ' ' .. ARGV[1]
redis.call('RPUSH', KEYS[2], line)
redis.call('LTRIM', KEYS[2], -ARGV[2], -1)
redis.call('PUBLISH', ARGV[3], line)
return number`)

func (s *store) say(ctx context.Context, room string, m message) error {
	text, err := json.Marshal(message{User: m.User, Text: m.Text})
	if err != nil {
		return err
	}
	return s.use(ctx, func(conn redis.Conn) error {
		_, err := sayScript.DoContext(ctx, conn, "number:"+room, "history:"+room, text, remembered, channels+room)
		return err
	})
}

// history returns what is remembered of a room.
func (s *store) history(ctx context.Context, room string) (all []message, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience) // the room waits for it
	defer cancel()
	err = s.use(ctx, func(conn redis.Conn) error {
		lines, err := redis.Strings(redis.DoContext(conn, ctx, "LRANGE", "history:"+room, 0, -1))
		if err != nil {
			return err
		}
		for _, line := range lines {
			m, err := decode(line)
			if err != nil {
				return err
			}
			all = append(all, m)
		}
		return nil
	})
	return all, err
}

// A user who has two tabs is there until both are closed.
var presentScript = redis.NewScript(1, `
if redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2]) < 1 then redis.call('HDEL', KEYS[1], ARGV[1]) end
local names = redis.call('HKEYS', KEYS[1])
redis.call('PUBLISH', ARGV[3], '0 ' .. (#names > 0 and cjson.encode({present = names}) or '{}'))`)

// enter notes that a user has come into a room (1) or has left it (-1).
func (s *store) enter(ctx context.Context, room, user string, by int) error {
	return s.use(ctx, func(conn redis.Conn) error {
		_, err := presentScript.DoContext(ctx, conn, "present:"+room, user, by, channels+room)
		return err
	})
}

// present returns who is in a room.
func (s *store) present(ctx context.Context, room string) (names []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience) // the room waits for it
	defer cancel()
	err = s.use(ctx, func(conn redis.Conn) error {
		names, err = redis.Strings(redis.DoContext(conn, ctx, "HKEYS", "present:"+room))
		return err
	})
	return names, err
}

// decode reads a line of Redis: the number, and the rest as JSON.
func decode(line string) (m message, err error) {
	number, rest, _ := strings.Cut(line, " ")
	if m.Number, err = strconv.ParseInt(number, 10, 64); err != nil {
		return m, fmt.Errorf("a line that is no message: %q", line)
	}
	n := m.Number
	if err := json.Unmarshal([]byte(rest), &m); err != nil {
		return m, fmt.Errorf("a line that is no message: %q: %w", line, err)
	}
	m.Number = n
	return m, nil
}
