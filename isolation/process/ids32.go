//go:build arm || 386

package process

import "golang.org/x/sys/unix"

// The calls of the plain names take users and groups of 16 bits on these processors.
const (
	sysSetgroups = unix.SYS_SETGROUPS32
	sysSetfsuid  = unix.SYS_SETFSUID32
	sysSetfsgid  = unix.SYS_SETFSGID32
)
