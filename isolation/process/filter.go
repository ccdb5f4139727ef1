package process

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/isolation/syscalls"
)

// Of seccomp(2).
const (
	setFilter = 1 // SECCOMP_SET_MODE_FILTER
	hasAnswer = 2 // SECCOMP_GET_ACTION_AVAIL
	// Kernels before 5.16 take all that has a filter for untrusted code, and turn
	// on for it what makes memory slow, unless told otherwise.
	specAllow = 4 // SECCOMP_FILTER_FLAG_SPEC_ALLOW
)

// CanFilter reports whether there is a filter of system calls for this machine.
func CanFilter() error {
	if syscalls.Filter() == nil || !setsFilters {
		return errors.New("this program cannot on this processor")
	}
	action := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, hasAnswer, 0, uintptr(unsafe.Pointer(&action))); errno != 0 {
		return fmt.Errorf("this kernel cannot: %w", errno)
	}
	return nil
}

// filterCode is nil where there can be no filter.
func filterCode() []byte {
	if CanFilter() != nil {
		return nil
	}
	program := syscalls.Filter()
	return unsafe.Slice((*byte)(unsafe.Pointer(&program[0])), len(program)*unix.SizeofSockFilter)
}

// mayFilter refuses a filter that the kernel would: it is not for processes
// that may gain rights by a program that does not expect to be refused anything,
// unless who sets it may do everything.
func (c Confinement) mayFilter(own capabilities) error {
	if c.FilterSyscalls && c.AllowNewPrivileges && own.permitted&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return fmt.Errorf("filter system calls: user %d may not for a program that may gain privileges: leave one of both out, or run the daemon as root", os.Geteuid())
	}
	return nil
}
