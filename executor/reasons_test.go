package executor

import (
	"strings"
	"syscall"
	"testing"
)

// Who is ended by the kernel for the numbers of its system calls is told how to go
// on, and nobody else is.
func TestSignaled(t *testing.T) {
	for sig, filtered := range map[syscall.Signal]bool{syscall.SIGSYS: true, syscall.SIGSEGV: false, syscall.SIGKILL: false} {
		got := signaled(sig)
		if !strings.Contains(got, signalName(sig)) || strings.Contains(got, "--unconfined syscalls") != filtered {
			t.Errorf("%d: %s", sig, got)
		}
	}
}
