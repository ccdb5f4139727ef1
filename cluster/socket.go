package cluster

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/mesita/mesita/api"
)

// longestSocket is how long the kernel lets the path of a socket be, in bytes.
const longestSocket = len(syscall.RawSockaddrUnix{}.Path) - 1

// listenLocal opens the sockets of this machine's users, and of its root, who would wait
// behind all others at the first: the kernel has one queue for each, and any user can
// fill it. Where the path leaves no room for a second one, root has the first, too.
func listenLocal(path string) (all, root net.Listener, err error) {
	if all, err = listenUnix(path, 0o666); err != nil { // who may do what is decided by the peer's user
		return nil, nil, err
	}
	if own := api.RootSocket(path); len(own) <= longestSocket {
		root, err = listenUnix(own, 0o600)
	}
	return all, root, err
}

// listenUnix opens a socket; one left behind by a node that died is replaced.
func listenUnix(path string, mode uint32) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close() // it was only to see who is there
		return nil, &api.Error{Code: api.CodeConflict, Field: "socket", Message: "a mesita node answers at " + path + " already: stop it, or give another --socket"}
	}
	if err := syscall.Unlink(path); err != nil && !errors.Is(err, syscall.ENOENT) {
		return nil, api.InField("socket", fmt.Errorf("replace %s: %w", path, err))
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, api.InField("socket", err)
	}
	if err := syscall.Chmod(path, mode); err != nil {
		return nil, errors.Join(api.InField("socket", err), l.Close())
	}
	return l, nil
}
