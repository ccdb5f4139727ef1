package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Exit is how a process ended: by an exit code, or by a signal if that is not 0.
type Exit struct {
	Code   int
	Signal syscall.Signal
	Core   bool // the kernel wrote its memory to disk
}

// hasSignal reports whether a mask of /proc/PID/status has sig.
func hasSignal(status []byte, mask string, sig syscall.Signal) bool {
	_, rest, _ := bytes.Cut(status, []byte("\n"+mask))
	hex, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte("\n"))
	v, err := strconv.ParseUint(string(hex), 16, 64)
	return err == nil && sig > 0 && sig <= 64 && v&(1<<(uint(sig)-1)) != 0
}

// ignoredSignals finds what whoever started us ignores: an exec does not change that,
// as it does for what has a handler.
func ignoredSignals(proc string) (out []syscall.Signal, err error) {
	b, err := os.ReadFile(filepath.Join(proc, "self/status"))
	if err != nil {
		return nil, fmt.Errorf("see which signals are ignored: %w", err)
	}
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if hasSignal(b, "SigIgn:", sig) {
			out = append(out, sig)
		}
	}
	return out, nil
}
