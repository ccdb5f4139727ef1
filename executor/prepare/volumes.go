package prepare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mesita/mesita/api"
	"golang.org/x/sys/unix"
)

// Volumes are the folders of a node whose files last from one task to the next. The
// cluster says which there are; one is made for the first task that has it.
type Volumes struct {
	root string
	gone atomic.Uint64 // names those that are being removed

	mu    sync.Mutex
	keep  map[string]bool // nil: the cluster has not said yet
	index uint64          // of the state that said it
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

// Keep says which the cluster has of this node at an index: all others that were made
// before are for Prune. It reports whether that is news.
func (v *Volumes) Keep(folders []string, index uint64) bool {
	keep := make(map[string]bool, len(folders))
	for _, f := range folders {
		keep[f] = true
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	news := v.keep == nil || !maps.Equal(v.keep, keep)
	v.keep, v.index = keep, index
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

// madeAt is the index at which a volume was made, which ends its folder's name (see
// api.Reservation.Folder). A state from before knows nothing of it: that of a leader that
// was, or of a cluster that was recovered from an older one.
func madeAt(folder string) uint64 {
	_, at, _ := strings.Cut(folder, "-")
	n, _ := strconv.ParseUint(at, 10, 64) // 0 of what is not a volume's
	return n
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
	if v.keep == nil || v.keep[folder] || madeAt(folder) > v.index {
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
	if err := v.mkdir(folder); err != nil {
		return err
	}
	top, err := openFolder(unix.AT_FDCWD, v.Dir(folder))
	if err != nil {
		return err
	}
	defer top.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(top.Fd()), &st); err != nil {
		return err
	}
	if st.Uid == who.uid && st.Gid == who.gid || os.Geteuid() != 0 {
		return nil
	}
	if ofAttempt(st.Uid) {
		h := handover{to: who, left: maxInherited}
		if err := h.all(top, 0); err != nil {
			return err
		}
	}
	return top.Chown(int(who.uid), int(who.gid)) // the last: it says that all of it was done
}

// mkdir makes none that was destroyed while its task was prepared: nobody would remove it.
func (v *Volumes) mkdir(folder string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.keep != nil && !v.keep[folder] && madeAt(folder) <= v.index {
		return errors.New("it was destroyed meanwhile")
	}
	if err := os.Mkdir(v.Dir(folder), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// ofAttempt reports whether a user was that of an attempt alone.
func ofAttempt(uid uint32) bool { return firstUID <= uid && uid <= lastUID }

// What of a volume can be handed on: all of it is looked at before a task starts.
const (
	maxInherited    = 1_000_000
	maxInheritDepth = 100 // folders that are open at a time
)

// handover gives what attempts had in a folder to another user, a name at a time: a folder may
// have any number. No link is followed.
type handover struct {
	to   account
	left int
}

func (h *handover) all(dir *os.File, depth int) error {
	if depth > maxInheritDepth {
		return fmt.Errorf("it has folders in more than %d others: run its tasks as a user of their own, who keeps what is there", maxInheritDepth)
	}
	for {
		names, err := dir.Readdirnames(namesAtOnce)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := h.take(dir, name, depth); err != nil {
				return err
			}
		}
	}
}

func (h *handover) take(dir *os.File, name string, depth int) error {
	if h.left--; h.left < 0 {
		return fmt.Errorf("it has more than %d files: run its tasks as a user of their own, who keeps what is there", maxInherited)
	}
	at := int(dir.Fd())
	var st unix.Stat_t
	if err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if ofAttempt(st.Uid) && st.Uid != h.to.uid {
		if err := unix.Fchownat(at, name, int(h.to.uid), int(h.to.gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &os.PathError{Op: "chown", Path: name, Err: err}
		}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	inner, err := openFolder(at, name)
	if err != nil {
		return err
	}
	defer inner.Close()
	return h.all(inner, depth+1)
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
		if fi, err := root.Lstat(m.Path); err == nil && fi.Mode()&fs.ModeSymlink == 0 {
			return errorf("put the volume at %s: what the task fetched, or files, is there already: give one of them another path", m.Path)
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
