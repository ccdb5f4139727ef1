package prepare

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

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

	mu    sync.Mutex
	spare []string
	named int
}

const spareName = "spare" // no dot: not an attempt's

// OpenFolders removes the spare ones that an earlier daemon left.
func OpenFolders(root string) (*Folders, error) {
	if err := os.MkdirAll(root, 0o711); err != nil {
		return nil, err
	}
	left, err := filepath.Glob(filepath.Join(root, spareName+"*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return &Folders{root: root}, err
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
		if i := strings.LastIndexByte(d.Name(), '.'); i >= 0 {
			out = append(out, d.Name()[:i]+"/"+d.Name()[i+1:])
		}
	}
	return out, err
}

// create makes a folder. One that is there is no error.
func (f *Folders) create(dir string) error {
	f.mu.Lock()
	spare := ""
	if n := len(f.spare); n > 0 {
		spare, f.spare = f.spare[n-1], f.spare[:n-1]
	}
	f.mu.Unlock()
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

// Release takes back the folder of an attempt that ended, if it is as it was
// made.
func (f *Folders) Release(id string) { f.release(f.Dir(id)) }

func (f *Folders) release(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.spare) >= maxSpare || !untouched(dir) {
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
