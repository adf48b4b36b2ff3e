package engine

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// PgBouncer starts a PgBouncer before a PostgreSQL, in one of its pool modes, with
// further lines of its settings. It lets anyone in, as PostgresUser. Of what it is
// asked, PostgreSQL gives the answer.
func PgBouncer(ctx context.Context, server, mode string, lines ...string) (*Engine, error) {
	binary, err := Find("pgbouncer")
	if err != nil {
		return nil, err
	}
	serverHost, serverPort, err := net.SplitHostPort(server)
	if err != nil {
		return nil, err
	}
	return launch(ctx, func(folder, address, host, port string) (*Engine, error) {
		owner, err := nobody(folder, "postgres")
		if err != nil {
			return nil, err
		}
		settings := filepath.Join(folder, "pgbouncer.ini")
		text := fmt.Sprintf("[databases]\npostgres = host=%s port=%s user=%s\n[pgbouncer]\nlisten_addr=%s\nlisten_port=%s\n"+
			"auth_type=any\nunix_socket_dir=\npool_mode=%s\n%s\n", serverHost, serverPort, PostgresUser, host, port, mode, strings.Join(lines, "\n"))
		if err := os.WriteFile(settings, []byte(text), 0o644); err != nil {
			return nil, err
		}
		return &Engine{
			Name: "pgbouncer",
			command: func() *exec.Cmd {
				return as(owner, folder, exec.Command(binary, settings))
			},
			admin: &postgresAdmin{address: address, role: true},
		}, nil
	})
}
