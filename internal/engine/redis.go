package engine

import (
	"context"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Redis starts a redis-server that allows limit clients, the one by which it
// is asked included.
func Redis(ctx context.Context, limit int) (*Engine, error) {
	binary, err := Find("redis-server")
	if err != nil {
		return nil, err
	}
	return launch(ctx, func(folder, address, host, port string) (*Engine, error) {
		return &Engine{
			Name: "redis",
			command: func() *exec.Cmd {
				return exec.Command(binary, "--bind", host, "--port", port, "--dir", folder,
					"--save", "", "--appendonly", "no", "--maxclients", strconv.Itoa(limit))
			},
			admin: &redisAdmin{address: address},
		}, nil
	})
}

type redisAdmin struct {
	address string

	mu   sync.Mutex
	conn redis.Conn
}

// do asks by the one connection, and by a new one if that has ended.
func (a *redisAdmin) do(ctx context.Context, command string, args ...any) (any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != nil && a.conn.Err() != nil {
		a.conn.Close()
		a.conn = nil
	}
	if a.conn == nil {
		conn, err := redis.DialContext(ctx, "tcp", a.address, redis.DialConnectTimeout(time.Second),
			redis.DialReadTimeout(10*time.Second), redis.DialWriteTimeout(10*time.Second))
		if err != nil {
			return nil, err
		}
		a.conn = conn
	}
	return redis.DoContext(a.conn, ctx, command, args...)
}

func (a *redisAdmin) ping(ctx context.Context) error {
	_, err := a.do(ctx, "PING")
	return err
}

// clients are the ids of all others.
func (a *redisAdmin) clients(ctx context.Context) ([]string, error) {
	me, err := redis.Int(a.do(ctx, "CLIENT", "ID"))
	if err != nil {
		return nil, err
	}
	list, err := redis.String(a.do(ctx, "CLIENT", "LIST"))
	if err != nil {
		return nil, err
	}
	var ids []string
	for line := range strings.Lines(list) {
		id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
		if id != strconv.Itoa(me) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (a *redisAdmin) connections(ctx context.Context) (int, error) {
	ids, err := a.clients(ctx)
	return len(ids), err
}

func (a *redisAdmin) terminate(ctx context.Context, n int) error {
	ids, err := a.clients(ctx)
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, id := range ids[:min(n, len(ids))] {
		if _, err := a.do(ctx, "CLIENT", "KILL", "ID", id); err != nil {
			return err
		}
	}
	return err
}

func (a *redisAdmin) totals(ctx context.Context) (t Totals, err error) {
	info, err := redis.String(a.do(ctx, "INFO", "stats"))
	if err != nil {
		return Totals{}, err
	}
	for line := range strings.Lines(info) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ":"); name {
		case "total_connections_received":
			t.Sessions, err = strconv.Atoi(value)
		case "total_commands_processed":
			t.Served, err = strconv.Atoi(value)
		}
		if err != nil {
			return Totals{}, err
		}
	}
	return t, nil
}

func (a *redisAdmin) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != nil {
		a.conn.Close()
	}
}
