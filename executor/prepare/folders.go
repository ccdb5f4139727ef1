package prepare

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxSpare bounds the folders that are kept for the next tasks.
const maxSpare = 64

// Folders makes the working folders of attempts, each its own. Most tasks leave
// theirs empty; such a folder is the next one's under another name, since
// making one can cost as much as starting a process (ext4 without a journal
// looks over all inodes that were freed lately).
type Folders struct {
	root string
	proc string // where the machine's processes are

	few   int           // spare ones for which it is not looked whether they are empty
	every time.Duration // looks at most
	valid time.Duration // that nobody stood in a folder holds good so long

	mu     sync.Mutex
	spare  []string
	empty  []string // of the spare ones nobody stood in these at looked
	named  int
	looked time.Time
	users  users
}

const (
	fewSpare  = 4 // a look at all processes costs as much as making some
	lookEvery = 100 * time.Millisecond
	emptyFor  = time.Second
)

const spareName = "spare" // no dot: not an attempt's

// OpenFolders removes the spare ones that an earlier daemon left, and finds out
// which uids the others hold.
func OpenFolders(root string) (*Folders, error) {
	if err := os.MkdirAll(root, 0o711); err != nil {
		return nil, err
	}
	left, err := filepath.Glob(filepath.Join(root, spareName+"*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	f := &Folders{root: root, proc: "/proc", few: fewSpare, every: lookEvery, valid: emptyFor, users: newUsers()}
	dirs, listErr := os.ReadDir(root)
	for _, d := range dirs {
		dir := filepath.Join(root, d.Name())
		if uid := owner(dir); uid != 0 {
			f.users.find(uid, dir)
		}
	}
	return f, errors.Join(err, listErr)
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
func (f *Folders) create(dir string) error {
	spare := f.take()
	if spare != "" {
		if untouched(spare) && os.Rename(spare, dir) == nil {
			return nil
		}
		_ = os.RemoveAll(spare) // what is wrong with it does not matter
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// take takes a spare folder in which no process stands, or it would be in another
// task's; "" if there is none.
func (f *Folders) take() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.empty)
	if since := time.Since(f.looked); n == 0 || since < 0 || since > f.valid {
		return ""
	}
	dir := f.empty[n-1]
	f.empty = f.empty[:n-1]
	return dir
}

// look finds out in which of the spare folders nobody stands. The others are
// given up. No start waits for it.
func (f *Folders) look() {
	f.mu.Lock()
	since, n := time.Since(f.looked), len(f.spare)
	if since < 0 || since > f.valid { // it is not known any more
		n += len(f.empty)
	}
	if n <= f.few || since >= 0 && since < f.every {
		f.mu.Unlock()
		return
	}
	all := append(f.spare, f.empty...)
	f.spare, f.empty, f.looked = nil, nil, time.Now()
	f.mu.Unlock()
	stands, err := standing(f.proc)
	all = slices.DeleteFunc(all, func(dir string) bool {
		in := err != nil || stands[filepath.Base(dir)]
		if in {
			_ = os.RemoveAll(dir) // what is wrong with it does not matter
		}
		return in
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.empty = append(f.empty, all...)
}

// standing has the names of the folders in which the machine's processes stand.
// One in another mount namespace may have another path, but its folder the same
// name.
func standing(proc string) (map[string]bool, error) {
	all, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, d := range all {
		if _, err := strconv.Atoi(d.Name()); err != nil {
			continue
		}
		// What ended stands nowhere; what is not for root to see is of a container's
		// outside, and has no business here.
		if to, err := os.Readlink(filepath.Join(proc, d.Name(), "cwd")); err == nil {
			names[filepath.Base(to)] = true
		}
	}
	return names, nil
}

// Release takes back the folder of an attempt that ended, if it is as it was
// made.
func (f *Folders) Release(id string) {
	f.release(f.Dir(id))
	f.look()
}

func (f *Folders) release(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users.holds(dir) {
		f.leave(dir)
		return
	}
	if len(f.spare)+len(f.empty) >= maxSpare || !untouched(dir) {
		return
	}
	f.named++
	spare := filepath.Join(f.root, spareName+strconv.Itoa(f.named))
	if os.Rename(dir, spare) == nil {
		f.spare = append(f.spare, spare)
	}
}

// untouched tells whether a folder is empty, ours, and has no permissions or
// attributes but those it was made with.
func untouched(path string) bool {
	dir, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil || st.Mode != unix.S_IFDIR|0o700 || int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid() {
		return false
	}
	if n, err := unix.Flistxattr(int(dir.Fd()), nil); err != nil && !errors.Is(err, unix.ENOTSUP) || n > 0 {
		return false
	}
	_, err = dir.Readdirnames(1)
	return errors.Is(err, io.EOF)
}
