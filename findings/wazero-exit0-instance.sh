#!/usr/bin/env bash
# wazero 1.12.0: InstantiateModule of a command whose _start calls WASI's
# proc_exit(0) returns no error and an instance that is closed already: a call of
# one of its exported functions fails with "module closed with exit_code(0)". The
# same command with proc_exit(1) is an error of InstantiateModule. So whoever keeps
# instances for later (a cache, a pool) gets one that is dead without being told;
# IsClosed tells.
#
# Seen on 2026-12-01 with Go 1.26.8:
#   exit 0: error <nil>, closed true, call: module closed with exit_code(0)
#   exit 1: error module closed with exit_code(1)
set -euo pipefail
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'M'
module finding

go 1.25
M
cat >main.go <<'G'
package main

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// command is a module that imports proc_exit and exports a memory, _start, which
// calls proc_exit(code), and hello, which returns.
func command(code byte) []byte {
	section := func(id byte, body ...byte) []byte { return append([]byte{id, byte(len(body))}, body...) }
	name := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	join := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	return join(
		[]byte("\x00asm\x01\x00\x00\x00"),
		section(1, 2, 0x60, 1, 0x7f, 0, 0x60, 0, 0), // types: (i32) -> (), () -> ()
		section(2, join([]byte{1}, name("wasi_snapshot_preview1"), name("proc_exit"), []byte{0, 0})...),
		section(3, 2, 1, 1),
		section(5, 1, 0, 1),
		section(7, join([]byte{3}, name("memory"), []byte{2, 0}, name("_start"), []byte{0, 1}, name("hello"), []byte{0, 2})...),
		section(10, 2, 6, 0, 0x41, code, 0x10, 0, 0x0b, 2, 0, 0x0b),
	)
}

func main() {
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	for code := range byte(2) {
		compiled, err := r.CompileModule(ctx, command(code))
		if err != nil {
			panic(err)
		}
		instance, err := r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName(""))
		fmt.Printf("exit %d: error %v", code, err)
		if err == nil {
			_, err := instance.ExportedFunction("hello").Call(ctx)
			fmt.Printf(", closed %v, call: %v", instance.IsClosed(), err)
		}
		fmt.Println()
	}
}
G
go get github.com/tetratelabs/wazero@v1.12.0 2>/dev/null
go run . >seen
cat seen
diff seen - <<'S'
exit 0: error <nil>, closed true, call: module closed with exit_code(0)
exit 1: error module closed with exit_code(1)
S
