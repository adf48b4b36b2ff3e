package engine

import "syscall"

// dieWithUs has a server killed when its test is, so that none is left.
func dieWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
