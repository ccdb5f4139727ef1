package prepare

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// The uids that tasks get of whose user nobody said anything: those that systemd
// sets aside for such users of its own, below 65536 so that they exist in a
// container as well. A task's group has the same number.
const (
	firstUID = 61184
	lastUID  = 65519
)

// systemdUsers is where systemd notes which of them its services have.
const systemdUsers = "/run/systemd/dynamic-uid"

// users gives each attempt that needs one a uid that no other has. That an
// attempt's folder is owned by a uid is what holds it, and what a daemon that
// starts again goes by. It is used under the lock of the Folders.
type users struct {
	held    map[uint32]string // the folder that holds a uid
	next    uint32            // looked at next, so that one is given again as late as can be
	ended   []string          // folders of attempts that ended and left something, the oldest first
	foreign func(uid uint32) bool
}

func newUsers() users {
	return users{held: map[uint32]string{}, next: firstUID + rand.Uint32N(lastUID-firstUID+1), foreign: func(uid uint32) bool {
		_, err := os.Lstat(filepath.Join(systemdUsers, strconv.FormatUint(uint64(uid), 10)))
		return err == nil
	}}
}

// choose is a uid that is free, 0 if none is.
func (u *users) choose(known func(uint32) bool) uint32 {
	for range lastUID - firstUID + 1 {
		uid := u.next
		if u.next++; u.next > lastUID {
			u.next = firstUID
		}
		if _, held := u.held[uid]; !held && !u.foreign(uid) && !known(uid) {
			return uid
		}
	}
	return 0
}

// holds tells whether a folder, which may be gone by now, has a uid.
func (u *users) holds(dir string) bool {
	for _, d := range u.held {
		if d == dir {
			return true
		}
	}
	return false
}

// free gives a folder's uid back if the folder is gone. It makes no room any more.
func (u *users) free(dir string, gone bool) {
	u.ended = slices.DeleteFunc(u.ended, func(d string) bool { return d == dir })
	if !gone {
		return
	}
	for uid, d := range u.held {
		if d == dir {
			delete(u.held, uid)
		}
	}
}

// owner is the uid of the range that owns a folder, 0 if none does.
func owner(dir string) uint32 {
	fi, err := os.Lstat(dir)
	if err != nil || !fi.IsDir() {
		return 0
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || st.Uid < firstUID || st.Uid > lastUID {
		return 0
	}
	return st.Uid
}

// own gives a folder, which is there, to a uid of its own, and returns that. One
// that has one keeps it. known tells of uids with an account. If there is none
// left, what ended longest ago makes room, which is kept only for those who want to
// look at it.
func (f *Folders) own(dir string, known func(uint32) bool) (uint32, error) {
	for {
		uid, old := f.choose(dir, known)
		switch {
		case uid != 0:
			return uid, os.Chown(dir, int(uid), int(uid))
		case old == "":
			return 0, errors.New("none of the " + strconv.Itoa(lastUID-firstUID+1) + " users for tasks is free: tasks run as all of them")
		}
		_ = f.discard(old) // one that stays makes no room, and is not tried again
	}
}

// choose is the uid that a folder holds from now on, or the folder that may make
// room for it.
func (f *Folders) choose(dir string, known func(uint32) bool) (uid uint32, old string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if uid := owner(dir); uid != 0 && f.users.held[uid] == dir {
		return uid, ""
	}
	if uid = f.users.choose(known); uid != 0 {
		f.users.held[uid] = dir
	} else if len(f.users.ended) > 0 {
		old = f.users.ended[0]
	}
	return uid, old
}

// Discard removes the folder of an attempt, with all in it.
func (f *Folders) Discard(id string) error { return f.discard(f.Dir(id)) }

func (f *Folders) discard(dir string) error {
	err := os.RemoveAll(dir) // which may take long
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users.free(dir, err == nil)
	return err
}

// leave takes note that the attempt of a folder ended. An empty one goes at once:
// it is no spare one, as whoever was told of it while it was a task's may still
// have it open.
func (f *Folders) leave(dir string) {
	if err := os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
		f.users.free(dir, true)
	} else if !slices.Contains(f.users.ended, dir) {
		f.users.ended = append(f.users.ended, dir)
	}
}
