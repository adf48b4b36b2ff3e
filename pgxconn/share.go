package pgxconn

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// shareTime shares the time until ctx ends among the addresses that pgx will try
// one after the other, unless connect_timeout says how long one may take.
func shareTime(ctx context.Context, config *pgx.ConnConfig) {
	end, ends := ctx.Deadline()
	if !ends || config.ConnectTimeout != 0 {
		return
	}
	found := make(map[string][]string)
	tries, last := 0, ""
	try := func(host string, port uint16) {
		if filepath.IsAbs(host) { // a Unix socket
			tries, last = tries+1, host
			return
		}
		if _, known := found[host]; !known {
			addresses, err := config.LookupFunc(ctx, host)
			if err != nil {
				return // pgx asks again, and says so
			}
			found[host] = addresses
		}
		for _, address := range found[host] {
			if address = net.JoinHostPort(address, strconv.Itoa(int(port))); address != last {
				tries, last = tries+1, address
			}
		}
	}
	try(config.Host, config.Port)
	for _, f := range config.Fallbacks {
		try(f.Host, f.Port)
	}
	if tries > 1 {
		config.ConnectTimeout = time.Until(end) / time.Duration(tries)
		lookup := config.LookupFunc
		config.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
			if addresses, known := found[host]; known {
				return addresses, nil
			}
			return lookup(ctx, host)
		}
	}
}
