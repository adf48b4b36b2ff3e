package prompools_test

import (
	"os/exec"
	"syscall"
)

// dieWithUs has the kernel kill the process when this one ends in a way that
// runs no cleanup.
func dieWithUs(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
