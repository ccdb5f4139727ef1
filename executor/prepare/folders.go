package prepare

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Folders makes the working folders of attempts, each its own. Most tasks leave
// theirs as it was made; such a folder is its job's next attempt's, or goes at once.
type Folders struct {
	stock

	mu    sync.Mutex
	users users
}

// OpenFolders finds the spare ones that an earlier daemon left, which Trim removes, and
// which uids the others hold.
func OpenFolders(root string) (*Folders, error) {
	if err := os.MkdirAll(root, 0o711); err != nil {
		return nil, err
	}
	f := &Folders{stock: newStock(root, privateMode), users: newUsers()}
	dirs, err := os.ReadDir(root)
	for _, d := range dirs {
		dir := filepath.Join(root, d.Name())
		if strings.HasPrefix(d.Name(), spareName) && attempt(d.Name()) == "" {
			f.left = append(f.left, dir)
		} else if uid := owner(dir); uid != 0 {
			f.users.find(uid, dir)
		}
	}
	return f, err
}

// Dir is the attempt's own folder. It is one level deep, since making a folder
// costs as much as starting a process.
func (f *Folders) Dir(id string) string {
	return filepath.Join(f.root, strings.Replace(id, "/", ".", 1))
}

// Attempts lists the ids of attempts that have a folder.
func (f *Folders) Attempts() ([]string, error) {
	dirs, err := os.ReadDir(f.root)
	var out []string
	for _, d := range dirs {
		if id := attempt(d.Name()); id != "" {
			out = append(out, id)
		}
	}
	return out, err
}

// attempt is the id of the attempt whose folder has that name, "" if it is of none.
func attempt(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return ""
	}
	return name[:i] + "/" + name[i+1:]
}

// create makes a folder. One that is there is no error.
func (f *Folders) create(dir string, after heir) error {
	err := f.stock.make(dir, after)
	if errors.Is(err, os.ErrExist) {
		f.forget(dir, after)
		return nil
	}
	return err
}

// Release has the folder of an attempt that ended, if it is as it was made, be its
// job's once every process of it is gone, which is for the caller to say, or removes
// it.
func (f *Folders) Release(id string, gone bool) {
	dir := f.Dir(id)
	f.mu.Lock()
	holds := f.users.holds(dir)
	if holds {
		f.leave(dir)
	}
	f.mu.Unlock()
	if holds || gone && f.keep(dir) {
		return
	}
	f.forget(dir, heir{})
	if untouched(dir) {
		_ = rmdir(dir) // fails if somebody put something there meanwhile
	}
}

// untouched reports whether a folder is ours and has no permissions or attributes but
// those it was made with. Whether it is empty is seen when it is removed.
func untouched(dir string) bool {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil || st.Mode != unix.S_IFDIR|0o700 || int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid() {
		return false
	}
	n, err := unix.Llistxattr(dir, nil)
	return n == 0 || errors.Is(err, unix.ENOTSUP)
}
