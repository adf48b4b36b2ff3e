package main

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/pgxconn"
)

const question = "select 1"

// pgxPool is pgxpool on whatever puddle this program was built with.
func pgxPool(ctx context.Context, url string, size int) (pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return pool{}, err
	}
	config.MaxConns = int32(size)
	p, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return pool{}, err
	}
	return pool{
		ask: func(ctx context.Context) error {
			var one int
			return p.QueryRow(ctx, question).Scan(&one)
		},
		close: func() error {
			p.Close()
			return nil
		},
	}, nil
}

// pgxConn is pools with pgxconn.
func pgxConn(cleaning pgxconn.Cleaning) func(context.Context, string, int) (pool, error) {
	return func(_ context.Context, url string, size int) (pool, error) {
		config, err := pgx.ParseConfig(url)
		if err != nil {
			return pool{}, err
		}
		p, err := pools.New("db", pgxconn.New(pgxconn.Options{Config: config, Cleaning: cleaning}), pools.Settings{Size: size})
		if err != nil {
			return pool{}, err
		}
		return pool{
			ask: func(ctx context.Context) error {
				return p.Use(ctx, func(conn *pgx.Conn) error {
					var one int
					return conn.QueryRow(ctx, question).Scan(&one)
				})
			},
			close: func() error { return p.Close(context.Background()) },
		}, nil
	}
}
