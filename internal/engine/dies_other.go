//go:build !linux

package engine

import "syscall"

func dieWithUs(*syscall.SysProcAttr) {}
