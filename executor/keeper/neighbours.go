package keeper

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// neighbours is what the keepers beside one hold. The kernel tells what changes
// in their folders (inotify), so what was read once is known without the disk
// until then: a keeper that waits for a disk is silent, and one that is silent
// has its tasks started elsewhere. The zero value is ready to use.
type neighbours struct {
	mu      sync.Mutex
	fd      int       // of inotify; 0 = none yet, or none can be had, -1 = none any more: then all is read each time
	changed time.Time // when they last did
	read    time.Time // when the last look began that found out what they hold
	again   *time.Timer

	held []Status
	dead bool
}

// neighboursSettle is how long after a change it may not be seen yet: the kernel
// tells that a lock is closed before it is free.
const neighboursSettle = time.Second

// neighboursEvery is how often a look is taken without being asked for: what the
// kernel has to tell is not kept without bound.
const neighboursEvery = 10 * time.Minute

const (
	folderChanges = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_TO | unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	parentChanges = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
)

// look tells what the keepers beside the one in dir hold, as beside does.
func (n *neighbours) look(dir string) (held []Status, dead bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if n.heard(dir) {
		n.changed = now
	}
	if n.fd > 0 && n.read.Sub(n.changed) > neighboursSettle {
		n.lookAgain(dir)
		return n.held, n.dead, nil
	}
	if n.read = (time.Time{}); !n.watch(dir) {
		return beside(dir)
	}
	defer n.lookAgain(dir)
	if n.held, n.dead, err = beside(dir); err != nil {
		return nil, false, err
	}
	n.read = now
	return n.held, n.dead, nil
}

// lookAgain looks once more as soon as that will hold, or in a while.
func (n *neighbours) lookAgain(dir string) {
	if n.again != nil {
		n.again.Stop()
	}
	wait := neighboursEvery
	if n.read.Sub(n.changed) <= neighboursSettle {
		wait = neighboursSettle + neighboursSettle/10
	}
	n.again = time.AfterFunc(wait, func() { _, _, _ = n.look(dir) }) // who answers looks by itself
}

// watch has the kernel tell what changes from now on; false if it cannot. It comes
// before what is there is read.
func (n *neighbours) watch(dir string) bool {
	if n.fd < 0 {
		return false
	}
	if n.fd == 0 {
		fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
		if err != nil {
			return false
		}
		n.fd, n.changed = fd, time.Now()
	}
	_, err := unix.InotifyAddWatch(n.fd, filepath.Dir(filepath.Clean(dir)), parentChanges)
	for _, other := range folders(dir) {
		if err == nil && other != filepath.Clean(dir) {
			if _, err = unix.InotifyAddWatch(n.fd, other, folderChanges); errors.Is(err, unix.ENOENT) {
				err = nil // its making is told
			}
		}
	}
	if err != nil {
		unix.Close(n.fd)
		n.fd = 0
	}
	return err == nil
}

// heard takes all that the kernel tells, and is true if a neighbour changed.
func (n *neighbours) heard(dir string) (changed bool) {
	if n.fd <= 0 {
		return false
	}
	matter := []string{"", lockFile, pidFile, ledgerFile}
	for _, other := range folders(dir) {
		matter = append(matter, filepath.Base(other))
	}
	var b [4096]byte
	for {
		size, err := unix.Read(n.fd, b[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || size <= 0 {
			return changed
		}
		for at := 0; at+unix.SizeofInotifyEvent <= size; {
			nameAt := at + unix.SizeofInotifyEvent
			end := nameAt + int(binary.NativeEndian.Uint32(b[nameAt-4:]))
			name, _, _ := bytes.Cut(b[nameAt:end], []byte{0})
			changed = changed || slices.Contains(matter, string(name))
			at = end
		}
	}
}

func (n *neighbours) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.again != nil {
		n.again.Stop()
	}
	if n.fd > 0 {
		unix.Close(n.fd)
	}
	n.fd = -1
}
