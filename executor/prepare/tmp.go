package prepare

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Temps makes the folders that are attempts' /tmp, each its own. They are on disk,
// as what programs put there can be much: a build's, or what a sort does not hold
// in memory. An empty one is the next attempt's under another name: removing a
// folder can cost as much as starting ten processes.
type Temps struct {
	root string

	mu    sync.Mutex
	spare []string        // empty ones
	over  map[string]bool // nobody's: the spare ones, and those that are being emptied
}

// OpenTemps has none that an earlier daemon left: Attempts lists those. Nobody but
// root comes to what is in root, where any user may write.
func OpenTemps(root string) (*Temps, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	return &Temps{root: root, over: map[string]bool{}}, os.Chmod(root, 0o700)
}

const tempMode = os.ModeSticky | 0o777

// Make makes an attempt's, and returns where it is. One that is there is what an
// earlier try left, of which nothing ran.
func (t *Temps) Make(id string) (string, error) {
	dir := t.dir(id)
	spare, err := t.take(dir)
	if err != nil || spare == dir {
		return dir, err
	}
	if spare != "" {
		if unix.Renameat2(unix.AT_FDCWD, spare, unix.AT_FDCWD, dir, unix.RENAME_NOREPLACE) == nil {
			return dir, nil
		}
		_ = os.Remove(spare) // what is wrong with it does not matter
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, os.Chmod(dir, tempMode)
}

func (t *Temps) dir(id string) string {
	return filepath.Join(t.root, strings.Replace(id, "/", ".", 1))
}

// take takes a spare one, that of this name if it is one.
func (t *Temps) take(dir string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := len(t.spare) - 1
	if t.over[dir] {
		if i = slices.Index(t.spare, dir); i < 0 {
			return "", errors.New("what an earlier try left in its " + tempPath + " is still being removed")
		}
	}
	if i < 0 {
		return "", nil
	}
	spare := t.spare[i]
	t.spare = slices.Delete(t.spare, i, i+1)
	delete(t.over, spare)
	return spare, nil
}

// Release removes what an attempt left, which may take long: until ctx ends. It may
// be another's then, if again says that nothing is left that has it open.
func (t *Temps) Release(ctx context.Context, id string, again bool) error {
	dir := t.dir(id)
	t.mu.Lock()
	was := t.over[dir]
	t.over[dir] = true
	t.mu.Unlock()
	if was {
		return nil
	}
	fresh, err := emptied(ctx, dir)
	if err == nil && again && fresh && t.keep(dir) {
		return nil
	}
	if err == nil {
		err = os.Remove(dir)
	}
	t.mu.Lock()
	delete(t.over, dir)
	t.mu.Unlock()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// keep has a folder that nobody has be a spare one.
func (t *Temps) keep(dir string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.spare) >= maxSpare {
		return false
	}
	t.spare = append(t.spare, dir)
	return true
}

// Attempts lists the ids of those that have one.
func (t *Temps) Attempts() ([]string, error) {
	dirs, err := os.ReadDir(t.root)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, d := range dirs {
		if id := attempt(d.Name()); id != "" && !t.over[t.dir(id)] {
			out = append(out, id)
		}
	}
	return out, nil
}

// emptied empties a folder, and tells whether it is as it was made then.
func emptied(ctx context.Context, path string) (fresh bool, err error) {
	dir, err := openFolder(unix.AT_FDCWD, path)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	if err := empty(ctx, dir); err != nil {
		return false, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	n, err := unix.Flistxattr(int(dir.Fd()), nil)
	plain := n == 0 || errors.Is(err, unix.ENOTSUP)
	return plain && st.Mode == unix.S_IFDIR|unix.S_ISVTX|0o777 && int(st.Uid) == os.Geteuid() && int(st.Gid) == os.Getegid(), nil
}
