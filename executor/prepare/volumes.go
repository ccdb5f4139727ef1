package prepare

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/mesita/mesita/api"
	"golang.org/x/sys/unix"
)

// Volumes are the folders of a node whose files last from one task to the next. The
// cluster says which there are; one is made for the first task that has it.
type Volumes struct {
	root string
	gone atomic.Uint64 // names those that are being removed

	mu   sync.Mutex
	keep map[string]bool // nil: the cluster has not said yet
}

// goneName begins the names of those that are being removed: no volume is called so.
const goneName = "gone-"

// OpenVolumes finds those that an earlier daemon made. Who has one comes to it by its
// path, and nobody lists them.
func OpenVolumes(root string) (*Volumes, error) {
	if err := os.MkdirAll(root, 0o711); err != nil {
		return nil, err
	}
	v := &Volumes{root: root}
	return v, os.Chmod(root, 0o711)
}

// Dir is the folder of a volume.
func (v *Volumes) Dir(folder string) string { return filepath.Join(v.root, folder) }

// Keep says which the cluster has of this node: all others are for Prune. It reports
// whether that is news.
func (v *Volumes) Keep(folders []string) bool {
	keep := make(map[string]bool, len(folders))
	for _, f := range folders {
		keep[f] = true
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	news := v.keep == nil || !maps.Equal(v.keep, keep)
	v.keep = keep
	return news
}

// Prune removes what is not a volume any more, which may take long: until ctx ends.
func (v *Volumes) Prune(ctx context.Context) error {
	entries, err := os.ReadDir(v.root)
	if err != nil {
		return err
	}
	var failed error
	for _, e := range entries {
		dir, err := v.doomed(e.Name())
		if err == nil && dir != "" {
			err = removeFolder(ctx, dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// doomed gives a folder that nobody is to come to any more another name; "" if it is kept.
// What Keep has said meanwhile counts.
func (v *Volumes) doomed(folder string) (string, error) {
	dir := v.Dir(folder)
	if strings.HasPrefix(folder, goneName) {
		return dir, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.keep == nil || v.keep[folder] {
		return "", nil
	}
	for {
		to := v.Dir(goneName + strconv.FormatUint(v.gone.Add(1), 10))
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			return to, os.Rename(dir, to)
		}
	}
}

// make makes the folder of a volume, unless it is there, and gives it to who has it now.
func (v *Volumes) make(folder string, who account) error {
	if !filepath.IsLocal(folder) || filepath.Base(folder) != folder || strings.HasPrefix(folder, goneName) {
		return fmt.Errorf("%q is not a name of a folder", folder)
	}
	dir := v.Dir(folder)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return err
	}
	if st.Uid == who.uid && st.Gid == who.gid || os.Geteuid() != 0 {
		return nil
	}
	if firstUID <= st.Uid && st.Uid <= lastUID { // of an attempt that had a user for itself alone
		if err := inherit(root, st.Uid, who); err != nil {
			return err
		}
	}
	return os.Lchown(dir, int(who.uid), int(who.gid)) // the last: it says that all of it was done
}

// inherit gives what one user has in a folder to another one. No link is followed.
func inherit(root *os.Root, from uint32, to account) error {
	return fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		fi, err := root.Lstat(name)
		if err != nil {
			return err
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid == from {
			return root.Lchown(name, int(to.uid), int(to.gid))
		}
		return nil
	})
}

// putVolumes has a task find its volumes in its folder, by links: what leads to one is the
// task's own.
func (p *Preparer) putVolumes(id string, s *api.TaskSpec, who account) error {
	if len(s.Volumes) == 0 {
		return nil
	}
	if p.Volumes == nil {
		return errorf("this node keeps no volumes")
	}
	root, err := os.OpenRoot(p.Folders.Dir(id))
	if err != nil {
		return fmt.Errorf("put the task's volumes: %w", err)
	}
	defer root.Close()
	for i := range s.Volumes {
		m := &s.Volumes[i]
		if err := p.Volumes.make(m.Folder, who); err != nil {
			return fmt.Errorf("make the volume at %s: %w", m.Path, err)
		}
		if err := makeParents(root, path.Dir(m.Path), int(who.uid), int(who.gid)); err != nil {
			return fmt.Errorf("put the volume at %s: %w", m.Path, err)
		}
		if err := root.Remove(m.Path); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a start before
			return fmt.Errorf("put the volume at %s: %w", m.Path, err)
		}
		if err := root.Symlink(p.Volumes.Dir(m.Folder), m.Path); err != nil {
			return fmt.Errorf("put the volume at %s: %w", m.Path, err)
		}
	}
	return nil
}
