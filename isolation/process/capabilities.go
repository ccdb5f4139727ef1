package process

import (
	"errors"
	"fmt"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// UsualCapabilities are those that a process of root keeps unless it is
// privileged: Docker's, but for raw sockets and device nodes. A server, a
// database and a package's install script need no others.
const UsualCapabilities uint64 = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_KILL |
	1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_SYS_CHROOT |
	1<<unix.CAP_AUDIT_WRITE | 1<<unix.CAP_SETFCAP

// capabilities are sets of them, a bit for each.
type capabilities struct {
	permitted, bounding uint64
}

// ownCapabilities are those of the calling thread, which are those of any.
func ownCapabilities() (c capabilities, err error) {
	var set [2]unix.CapUserData
	header := capHeader()
	if err := unix.Capget(&header, &set[0]); err != nil {
		return c, fmt.Errorf("read our capabilities: %w", err)
	}
	c.permitted = uint64(set[1].Permitted)<<32 | uint64(set[0].Permitted)
	for i := uintptr(0); i < 64; i++ {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, i, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // the kernel knows no more of them
		}
		if err != nil {
			return c, fmt.Errorf("read our capabilities: %w", err)
		}
		c.bounding |= uint64(has) << i
	}
	return c, nil
}

func capHeader() unix.CapUserHeader {
	return unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
}

// set is what capset(2) is given for these and no others, none of them
// inheritable.
func capSet(kept uint64) [2]unix.CapUserData {
	low, high := uint32(kept), uint32(kept>>32)
	return [2]unix.CapUserData{{Effective: low, Permitted: low}, {Effective: high, Permitted: high}}
}

// kept are those that the program has: a user that is not root has none.
func (c Spec) kept(own capabilities) uint64 {
	if c.UID != 0 || os.Geteuid() != 0 {
		return 0
	}
	return own.permitted &^ c.Forbidden
}

// dropped are those that leave the bounding set. Who may not take them out of
// it has no new privileges to fear either.
func (c Confinement) dropped(own capabilities) uint64 {
	if own.permitted&(1<<unix.CAP_SETPCAP) == 0 {
		return 0
	}
	return c.Forbidden & own.bounding
}

// each lists the capabilities of a set.
func each(set uint64) iter.Seq[uintptr] {
	return func(yield func(uintptr) bool) {
		for i := range uintptr(64) {
			if set&(1<<i) != 0 && !yield(i) {
				return
			}
		}
	}
}

// hasIPC reports whether this kernel has IPC namespaces: one without has nothing
// that they would part.
func hasIPC(proc string) bool {
	_, err := os.Stat(proc + "/self/ns/ipc")
	return !errors.Is(err, os.ErrNotExist)
}

// queues is where systems mount the message queues of the IPC namespace.
const queues = "/dev/mqueue"
