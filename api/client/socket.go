package client

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
)

// DialSocket connects to a node's socket, as root to root's own, for what no Client does.
func DialSocket(ctx context.Context, path string) (net.Conn, error) {
	return dialLocal(ctx, new(net.Dialer), path)
}

// dialLocal connects to a node's socket, as root to root's own.
func dialLocal(ctx context.Context, dial *net.Dialer, path string) (net.Conn, error) {
	if os.Geteuid() == 0 {
		if c, err := dialSocket(ctx, dial, api.RootSocket(path)); err == nil {
			return c, nil
		}
	}
	return dialSocket(ctx, dial, path)
}

// dialSocket connects to a node's socket. The kernel refuses at once where too many
// wait to be let in, as in a flood: the node lets them in or throws them out by the
// thousand, so whoever keeps trying is next.
func dialSocket(ctx context.Context, dial *net.Dialer, path string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	retry := backoff.New(time.Millisecond, 20*time.Millisecond)
	for {
		c, err := dial.DialContext(ctx, "unix", path)
		if !errors.Is(err, syscall.EAGAIN) || !backoff.Pause(ctx, retry.Next()) {
			return c, err
		}
	}
}
