#!/usr/bin/env bash
# PgBouncer 1.18.0 (Debian 12): whatever PgBouncer itself refuses at a login has the
# SQLSTATE 08P01, protocol_violation: a database that it does not have, and a startup
# parameter that it does not take. PostgreSQL says 3D000 and 42704. So a client that
# tells "never" from "try again" by the SQLSTATE cannot behind PgBouncer.
#
# Seen on 2026-12-01 through pgx 5.13.0 (Go 1.26.8); no PostgreSQL is needed:
#   no such database: 08P01 no such database: nowhere
#   unknown parameter: 08P01 unsupported startup parameter: work_mem
#
# Needs Debian 12's apt and, as root, an unprivileged user called nobody.
set -euo pipefail
dir=$(mktemp -d)
pid=
finish() {
  [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
  chmod -R u+w "$dir"
  rm -rf "$dir"
}
trap finish EXIT
cd "$dir"
chmod 755 .
for package in pgbouncer=1.18.0-1+deb12u1 libc-ares2 libevent-2.1-7; do
  apt-get download -qq "$package" >/dev/null 2>&1
done
for package in ./*.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH
LD_LIBRARY_PATH=$(dirname "$(find "$dir/root" -name 'libevent-2.1.so.7')")

port=$((20000 + RANDOM % 20000))
cat >bouncer.ini <<I
[databases]
shop = host=127.0.0.1 port=1
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = trust
auth_file = $dir/users
I
echo '"app" ""' >users
chmod 644 bouncer.ini users
as=()
[ "$(id -u)" != 0 ] || as=(-u nobody)
root/usr/sbin/pgbouncer -q "${as[@]}" bouncer.ini 2>log &
pid=$!

cat >go.mod <<'M'
module finding

go 1.25
M
cat >main.go <<'G'
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func main() {
	address := "127.0.0.1:" + os.Args[1]
	for range 100 { // until it listens
		if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			conn.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	try := func(what, database string) {
		_, err := pgconn.Connect(ctx, "postgres://app@"+address+"/"+database)
		var e *pgconn.PgError
		if !errors.As(err, &e) {
			fmt.Println(what+":", err)
			return
		}
		fmt.Printf("%s: %s %s\n", what, e.Code, strings.TrimPrefix(e.Message, "FATAL: "))
	}
	try("no such database", "nowhere?sslmode=disable")
	try("unknown parameter", "shop?sslmode=disable&work_mem=1MB")
}
G
go get github.com/jackc/pgx/v5@v5.13.0 2>/dev/null
go run . "$port" >seen
cat seen
diff seen - <<'S'
no such database: 08P01 no such database: nowhere
unknown parameter: 08P01 unsupported startup parameter: work_mem
S
