package auth

import (
	"net"
	"syscall"
)

// credOf is what the kernel says of who connected to a unix socket, nil of
// others.
func credOf(c net.Conn) *cred {
	if held, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = held.NetConn()
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil
	}
	var said *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		said, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return nil
	}
	return &cred{pid: said.Pid, uid: said.Uid}
}
