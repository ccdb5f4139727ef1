package process

import (
	"bytes"
	"strconv"
	"syscall"
)

// Exit is how a process ended: by an exit code, or by a signal if that is not 0.
type Exit struct {
	Code   int
	Signal syscall.Signal
	Core   bool // the kernel wrote its memory to disk
}

// hasSignal tells whether a mask of /proc/PID/status has sig.
func hasSignal(status []byte, mask string, sig syscall.Signal) bool {
	_, rest, _ := bytes.Cut(status, []byte("\n"+mask))
	hex, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte("\n"))
	v, err := strconv.ParseUint(string(hex), 16, 64)
	return err == nil && sig > 0 && sig <= 64 && v&(1<<(uint(sig)-1)) != 0
}
