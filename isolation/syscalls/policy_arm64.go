package syscalls

import "golang.org/x/sys/unix"

const arch = unix.AUDIT_ARCH_AARCH64

// Of what only this machine has there is nothing.
var refusedHere, absentHere, allowedHere []uint32
