package executor

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/keeper"
)

// A start that fails for want of room says so, whoever wanted to write, and is not a fault
// of its program.
func TestStartReason(t *testing.T) {
	for err, want := range map[error]api.Reason{
		keeper.ErrDiskFull:           api.ReasonDiskFull,
		syscall.ENOSPC:               api.ReasonDiskFull,
		syscall.EDQUOT:               api.ReasonDiskFull,
		keeper.ErrProgram:            api.ReasonStartFailed,
		os.ErrNotExist:               api.ReasonStartFailed,
		syscall.EIO:                  api.ReasonInternal,
		errors.New("something else"): api.ReasonInternal,
	} {
		if got := startReason(fmt.Errorf("start: %w", err)); got != want {
			t.Errorf("%v: %s and not %s", err, got, want)
		}
	}
}

// Who may have been ended for the numbers of its system calls is told how to continue,
// and nobody else is: not who had no such filter.
func TestSignaled(t *testing.T) {
	for sig, filtered := range map[syscall.Signal]bool{syscall.SIGSYS: true, syscall.SIGSEGV: false, syscall.SIGKILL: false} {
		for _, s := range []*api.TaskSpec{{}, {Unconfined: []string{"files"}}, {Unconfined: []string{api.PartSyscalls}}, {Privileged: true}} {
			got, told := signaled(sig, s), filtered && s.Confined(api.PartSyscalls)
			if !strings.Contains(got, signalName(sig)) || strings.Contains(got, "32 bits") != told || strings.Contains(got, "--unconfined syscalls") != told || strings.Contains(got, "a filter of its own") != told {
				t.Errorf("%d: %s", sig, got)
			}
		}
	}
}
