package auth

import (
	"context"
	"net"
	"syscall"
)

type peerKey struct{}

// ConnContext is an http.Server's ConnContext: it notes which user is at the
// other end of a unix socket, as the kernel says.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return ctx // an unknown peer has no rights by itself
	}
	return context.WithValue(ctx, peerKey{}, cred.Uid)
}

func peerUID(ctx context.Context) (uint32, bool) {
	uid, ok := ctx.Value(peerKey{}).(uint32)
	return uid, ok
}
