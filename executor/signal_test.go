package executor

import (
	"syscall"
	"testing"
)

// Each signal has a name, also those in real time, and none has another's.
func TestEverySignalHasAName(t *testing.T) {
	of := map[string]syscall.Signal{}
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		name := signalName(sig)
		if other, taken := of[name]; taken || name == "" {
			t.Errorf("%d is %q, and so is %d", sig, name, other)
		}
		of[name] = sig
	}
	if of["SIGRTMIN+3"] != 37 || of["SIGTERM"] != 15 {
		t.Error(of)
	}
}
