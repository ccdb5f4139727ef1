package executor

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/prepare"
)

// prepareReason classes an error from before the keeper was asked: what the task
// needs is missing here, or else something is wrong with the machine.
func prepareReason(err error) api.Reason {
	var own *prepare.Error
	if errors.As(err, &own) {
		return api.ReasonStartFailed
	}
	return machineReason(err)
}

// ofProgram reports whether what the keeper could not start is the program's
// fault. An old one tells no program that cannot be executed apart.
func ofProgram(err error) bool {
	return errors.Is(err, keeper.ErrProgram) || errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission)
}

// notRun is an error of a command that was not run, for its user.
func notRun(err error) error {
	var own *prepare.Error
	if !errors.As(err, &own) {
		return err
	}
	return &api.Error{Code: api.CodeFailed, Message: own.Error(), Exit: own.Code}
}

// startReason classes an error of the keeper.
func startReason(err error) api.Reason {
	if ofProgram(err) {
		return api.ReasonStartFailed
	}
	return machineReason(err)
}

func machineReason(err error) api.Reason {
	if errors.Is(err, keeper.ErrDiskFull) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return api.ReasonDiskFull
	}
	return api.ReasonInternal
}

// outOfMemory says why the kernel killed a task for its memory. Only keepers of
// this version say whether it was for its own limit.
func outOfMemory(r api.Resources, st keeper.Status) string {
	switch peak := api.Bytes(st.MemPeak); {
	case st.OOMOutside && peak > r.Mem:
		return fmt.Sprintf("it used %s of %s guaranteed; the node had no room, and the kernel killed it: guarantee it what it needs with --mem", peak, r.Mem)
	case st.OOMOutside:
		return fmt.Sprintf("the node's memory ran out, and the kernel killed it although it used no more than the %s that it was guaranteed: see what else uses memory there", r.Mem)
	case r.MemExtra > 0:
		return fmt.Sprintf("it needed more than its memory limit of %s and was killed by the kernel: give it more with --mem-limit", r.MemLimit())
	default:
		return fmt.Sprintf("it needed more than its memory limit of %s and was killed by the kernel: give it more with --mem", r.Mem)
	}
}

// signaled says what may have ended a task by a signal that we did not send.
func signaled(sig syscall.Signal, s *api.TaskSpec) string {
	if sig == unix.SIGSYS && s.Confined(api.PartSyscalls) {
		return "it was ended by SIGSYS, by a filter of its own, or as a program of 32 bits: run one of 64 bits, or with --unconfined syscalls"
	}
	return "it was ended by " + signalName(sig) + " from outside mesita or by a fault of its own"
}
