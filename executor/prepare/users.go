package prepare

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// The uids that tasks get of whose user nobody said anything: those that systemd
// sets aside for such users of its own, below 65536 so that they exist in a
// container as well. A task's group has the same number.
const (
	firstUID = 61184
	lastUID  = 65519
)

// systemdUsers is where systemd locks those of them that its services have.
const systemdUsers = "/run/systemd/dynamic-uid"

// users gives each attempt that needs one a uid that no other has. That an
// attempt's folder is owned by a uid is what holds it, and what a daemon that
// starts again goes by. It is used under the lock of the Folders.
type users struct {
	held  map[uint32]holder
	next  uint32          // looked at next, so that one is given again as late as can be
	ended []string        // folders of attempts that ended and left something, the oldest first
	found map[string]bool // folders that an earlier daemon left, until it is known whose they are
	lock  func(uid uint32) (unlock func(), ok bool)
}

// holder is the folder that holds a uid.
type holder struct {
	dir    string
	unlock func()
}

func newUsers() users {
	if _, err := os.Stat("/run/systemd/system"); err == nil { // see sd_booted(3)
		_ = os.Mkdir(systemdUsers, 0o755) // as systemd does at its first one
	}
	return users{held: map[uint32]holder{}, found: map[string]bool{}, next: firstUID + rand.Uint32N(lastUID-firstUID+1), lock: lockBelow(systemdUsers)}
}

// lockBelow locks uids as systemd does (dynamic-user.c), which gives none that is
// locked to its services. Where there is no systemd there is nothing to lock.
func lockBelow(dir string) func(uint32) (func(), bool) {
	return func(uid uint32) (func(), bool) {
		path := filepath.Join(dir, strconv.FormatUint(uint64(uid), 10))
		for range 3 { // whoever gives one up removes the file
			file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NOCTTY, 0o600)
			if err != nil { // no lock is not a reason to give none away, as none at all would be left
				_, err := os.Lstat(path)
				return func() {}, errors.Is(err, os.ErrNotExist)
			}
			var st unix.Stat_t
			fd := int(file.Fd())
			if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil || unix.Fstat(fd, &st) != nil {
				file.Close()
				return nil, false
			}
			if st.Nlink > 0 {
				return func() {
					_ = os.Remove(path)
					file.Close()
				}, true
			}
			file.Close()
		}
		return nil, false
	}
}

// find takes note of a folder that an earlier daemon left. It holds its uid also if
// systemd took that meanwhile.
func (u *users) find(uid uint32, dir string) {
	unlock, ok := u.lock(uid)
	if !ok {
		unlock = func() {}
	}
	u.held[uid], u.found[dir] = holder{dir, unlock}, true
}

// choose gives a folder a uid that is free; it is 0 if none is.
func (u *users) choose(dir string, taken map[uint32]bool) uint32 {
	for range lastUID - firstUID + 1 {
		uid := u.next
		if u.next++; u.next > lastUID {
			u.next = firstUID
		}
		if _, held := u.held[uid]; held || taken[uid] {
			continue
		}
		if unlock, ok := u.lock(uid); ok {
			u.held[uid] = holder{dir, unlock}
			return uid
		}
	}
	return 0
}

// holds reports whether a folder, which may be gone by now, has a uid.
func (u *users) holds(dir string) bool {
	for _, h := range u.held {
		if h.dir == dir {
			return true
		}
	}
	return false
}

// free gives a folder's uid back if the folder is gone. It makes no room any more.
func (u *users) free(dir string, gone bool) {
	u.wanted(dir)
	if !gone {
		return
	}
	for uid, h := range u.held {
		if h.dir == dir {
			delete(u.held, uid)
			h.unlock()
		}
	}
}

// wanted has a folder make no room for others.
func (u *users) wanted(dir string) {
	u.ended = slices.DeleteFunc(u.ended, func(d string) bool { return d == dir })
	delete(u.found, dir)
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
// that has one keeps it. Those that are taken are somebody else's. If there is none
// left, what ended longest ago makes room, which is kept only for those who want to
// look at it.
func (f *Folders) own(dir string, taken map[uint32]bool) (uint32, error) {
	for {
		uid, old := f.choose(dir, taken)
		switch {
		case uid != 0:
			return uid, os.Chown(dir, int(uid), int(uid))
		case old == "":
			return 0, errors.New("none of the " + strconv.Itoa(lastUID-firstUID+1) + " users for tasks is free: those have them that run, or that left what cannot be removed")
		}
		_ = f.discard(old) // one that stays makes no room, and is not tried again
	}
}

// choose is the uid that a folder holds from now on, or the folder that may make
// room for it.
func (f *Folders) choose(dir string, taken map[uint32]bool) (uid uint32, old string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if uid := owner(dir); uid != 0 && f.users.held[uid].dir == dir {
		f.users.wanted(dir)
		return uid, ""
	}
	if uid = f.users.choose(dir, taken); uid == 0 && len(f.users.ended) > 0 {
		old = f.users.ended[0]
	}
	return uid, old
}

// Found lists the attempts of which an earlier daemon left a folder with a uid of
// its own, as long as nobody said whether they ended.
func (f *Folders) Found() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for dir := range f.users.found {
		if id := attempt(filepath.Base(dir)); id != "" {
			out = append(out, id)
		}
	}
	return out
}

// Leave takes note that attempts that were found ended, the oldest end first. One
// that was prepared again meanwhile has its folder.
func (f *Folders) Leave(ids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if dir := f.Dir(id); f.users.found[dir] {
			delete(f.users.found, dir)
			f.leave(dir)
		}
	}
}

// Discard removes the folder of an attempt, with all in it.
func (f *Folders) Discard(id string) error { return f.discard(f.Dir(id)) }

func (f *Folders) discard(dir string) error {
	err := os.RemoveAll(dir) // which may take long
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users.free(dir, err == nil)
	f.forget(dir, heir{})
	return err
}

// leave takes note that the attempt of a folder ended. An empty one goes at once:
// it is not a spare one, as whoever was told of it while it was a task's may still
// have it open.
func (f *Folders) leave(dir string) {
	if err := rmdir(dir); err == nil || errors.Is(err, os.ErrNotExist) {
		f.users.free(dir, true)
	} else if !slices.Contains(f.users.ended, dir) {
		f.users.ended = append(f.users.ended, dir)
	}
}
