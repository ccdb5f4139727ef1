package auth

import (
	"context"
	"net"
	"os"
	"strconv"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/budget"
)

type peerKey struct{}

// ConnContext is an http.Server's ConnContext: it notes which user is at the
// other end of a unix socket, as the kernel says, or how to find it out of TCP.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if uid, ok := UserOf(c); ok { // an unknown peer has no rights by itself
		return context.WithValue(ctx, peerKey{}, uid)
	}
	return withTCP(ctx, c)
}

// UserOf is the user at the other end of a unix socket.
func UserOf(c net.Conn) (uid uint32, ok bool) {
	cred := credOf(c)
	if cred == nil {
		return 0, false
	}
	return cred.uid, true
}

// PIDOf is the process that connected to a unix socket; false: this machine's
// processes are not seen from here.
func PIDOf(c net.Conn) (pid int, ok bool) {
	cred := credOf(c)
	if cred == nil || cred.pid <= 0 {
		return 0, false
	}
	return int(cred.pid), true
}

// cred is who connected to a unix socket, as the kernel says.
type cred struct {
	pid int32
	uid uint32
}

// CallerOf is whom a connection is charged to until somebody on it is known:
// root here and the daemon's own user, another user of this machine, an address.
func CallerOf(c net.Conn) budget.Who {
	uid, ok := UserOf(c)
	switch {
	case ok && (uid == 0 || int(uid) == os.Getuid()):
		return budget.Who{Class: budget.Trusted, Name: api.LocalRoot}
	case ok:
		return budget.Who{Class: budget.Stranger, Name: userName(uid)}
	}
	return budget.Who{Class: budget.Stranger, Name: budget.SourceOf(c.RemoteAddr().String())}
}

func userName(uid uint32) string { return "uid " + strconv.FormatUint(uint64(uid), 10) }

func peerUID(ctx context.Context) (uint32, bool) {
	uid, ok := ctx.Value(peerKey{}).(uint32)
	return uid, ok
}
