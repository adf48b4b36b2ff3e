package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// HAProxy starts an HAProxy that passes TCP on to a server, and ends connections
// on which nothing was said for that long.
func HAProxy(ctx context.Context, server string, idle time.Duration) (*Engine, error) {
	return startProxy(ctx, "haproxy", func(address string) string {
		ms := idle.Milliseconds()
		return fmt.Sprintf("defaults\n\tmode tcp\n\ttimeout connect 5s\n\ttimeout client %dms\n\ttimeout server %dms\n"+
			"listen through\n\tbind %s\n\tserver behind %s\n", ms, ms, address, server)
	}, "-db", "-f")
}

// Stunnel starts a stunnel that takes TLS off on the way to a server, with a
// certificate and its key in files, and ends connections on which nothing was said
// for that long, in whole seconds.
func Stunnel(ctx context.Context, server, cert, key string, idle time.Duration) (*Engine, error) {
	return startProxy(ctx, "stunnel4", func(address string) string {
		return fmt.Sprintf("foreground = yes\npid =\ndebug = warning\n[through]\naccept = %s\nconnect = %s\ncert = %s\nkey = %s\nTIMEOUTidle = %d\n",
			address, server, cert, key, int(idle.Seconds()))
	})
}

// startProxy starts a program with a file of settings as its last argument.
func startProxy(ctx context.Context, name string, settings func(address string) string, args ...string) (*Engine, error) {
	binary, err := Find(name)
	if err != nil {
		return nil, err
	}
	return launch(ctx, func(folder, address, _, _ string) (*Engine, error) {
		file := filepath.Join(folder, name+".conf")
		if err := os.WriteFile(file, []byte(settings(address)), 0o644); err != nil {
			return nil, err
		}
		return &Engine{
			Name:    name,
			command: func() *exec.Cmd { return as(nil, folder, exec.Command(binary, append(args, file)...)) },
			admin:   listening(address),
		}, nil
	})
}

// listening is the address of a proxy, of which nothing is asked.
type listening string

func (l listening) ping(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", string(l))
	if err != nil {
		return err
	}
	return conn.Close()
}

func (listening) connections(context.Context) (int, error) { return 0, errNotAsked }
func (listening) terminate(context.Context, int) error     { return errNotAsked }
func (listening) close()                                   {}

var errNotAsked = fmt.Errorf("engine: a proxy is not asked: %w", errors.ErrUnsupported)
