package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/mesita/mesita/api"
)

// longestSocket is how long the kernel lets the path of a socket be, in bytes.
const longestSocket = len(syscall.RawSockaddrUnix{}.Path) - 1

// listenLocal opens the sockets of this machine's users, and of its root, who would wait
// behind all others at the first: the kernel has one queue for each, and any user can
// fill it. Where the path leaves no room for a second one, root has the first, too. What
// a node left behind that died is replaced, once neither is another's.
func listenLocal(path string) (all, root net.Listener, err error) {
	paths := []string{path}
	if own := api.RootSocket(path); len(own) <= longestSocket {
		paths = append(paths, own)
	}
	for _, p := range paths {
		if err := vacant(p); err != nil {
			return nil, nil, err
		}
	}
	if all, err = listenUnix(path, 0o666); err != nil { // who may do what is decided by the peer's user
		return nil, nil, err
	}
	if len(paths) > 1 {
		root, err = listenUnix(paths[1], 0o600)
	}
	return all, root, err
}

// vacant fails if somebody has a path, be it that they are too busy to answer.
func vacant(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return api.InField("socket", err)
	case info.Mode()&fs.ModeSocket == 0:
		return api.FieldErrorf("socket", "%s is there, and is not a socket: give another path", path)
	}
	c, err := net.Dial("unix", path)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return nil
	case err == nil:
		_ = c.Close() // it was only to see who is there
	case !errors.Is(err, syscall.EAGAIN):
		return api.InField("socket", err)
	}
	return &api.Error{Code: api.CodeConflict, Field: "socket", Message: "a mesita node answers at " + path + " already: stop it, or give another --socket"}
}

// listenUnix opens a socket at a path that is vacant.
func listenUnix(path string, mode uint32) (net.Listener, error) {
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
