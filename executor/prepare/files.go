package prepare

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/isolation"
)

// incomingFile is what a file is called until all of it is there.
const incomingFile = ".mesita-incoming"

// PutFiles puts the files of a task into its folder, in place of what is there: an
// attempt that starts anew, as after a reboot, may find half of one. What cannot be put
// leaves nothing, as that is most likely a disk that is full. No link is followed out of
// the folder, which others of the same user may write to.
func (p *Preparer) PutFiles(id string, s *api.TaskSpec, who isolation.Program) (err error) {
	if len(s.Files) == 0 {
		return nil
	}
	p.putting.Lock()
	defer p.putting.Unlock()
	if err := p.fit(s); err != nil {
		return err
	}
	root, err := os.OpenRoot(p.Folders.Dir(id))
	if err != nil {
		return fmt.Errorf("put the task's files: %w", err)
	}
	defer root.Close()
	defer func() {
		if err != nil {
			takeFiles(root, s, time.Time{})
		}
	}()
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		if err := p.putFile(root, name, s.Files[name], int(who.UID), int(who.GID)); err != nil {
			return fmt.Errorf("put the task's file %s: %w", name, err)
		}
	}
	return nil
}

// fit refuses files that are larger than any may be together, whatever the cluster was
// told of their sizes, or than the disk has room for.
func (p *Preparer) fit(s *api.TaskSpec) error {
	size := int64(0)
	for _, value := range s.Files {
		digest, _, _ := api.ParseFile(value)
		content, bytes, err := p.Open(digest)
		if err != nil {
			return err
		}
		size += bytes
		if err := content.Close(); err != nil {
			return err
		}
	}
	if size > int64(api.MaxFilesSize) {
		return &Error{text: fmt.Sprintf("its files have %s together, at most %s are allowed", api.Bytes(size), api.MaxFilesSize)}
	}
	if p.Room == nil {
		return nil
	}
	if err := p.Room(size); err != nil {
		return fmt.Errorf("put the task's files: %w", err)
	}
	return nil
}

func (p *Preparer) putFile(root *os.Root, name, value string, uid, gid int) error {
	digest, executable, _ := api.ParseFile(value)
	content, _, err := p.Open(digest)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := makeParents(root, path.Dir(name), uid, gid); err != nil {
		return err
	}
	if err := root.Remove(incomingFile); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a daemon that was killed
		return err
	}
	f, err := root.OpenFile(incomingFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	_, err = io.Copy(f, content)
	if err = errors.Join(err, f.Chown(uid, gid), f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	now := time.Now().Truncate(time.Second) // see takeFiles
	return errors.Join(root.Chtimes(incomingFile, now, now), root.Rename(incomingFile, name))
}

// makeParents makes the folders in which a file is to be, of the task's user.
func makeParents(root *os.Root, dir string, uid, gid int) error {
	if dir == "." {
		return nil
	}
	if err := makeParents(root, path.Dir(dir), uid, gid); err != nil {
		return err
	}
	if err := root.Mkdir(dir, 0o755); errors.Is(err, fs.ErrExist) {
		return nil // if it is not a folder, the file cannot be put
	} else if err != nil {
		return err
	}
	return errors.Join(root.Chmod(dir, 0o755), root.Lchown(dir, uid, gid)) // whatever the umask is
}

// TakeFiles removes from the folder of an attempt that ended the files that were put
// there, but those that changed since it started: they would be kept for each attempt
// for as long as what tasks leave is kept. Every process of it has to be gone.
func (p *Preparer) TakeFiles(id string, s *api.TaskSpec, started time.Time) {
	if len(s.Files) == 0 || started.IsZero() {
		return
	}
	root, err := os.OpenRoot(p.Folders.Dir(id))
	if err != nil {
		return // it is gone
	}
	defer root.Close()
	takeFiles(root, s, started)
}

// takeFiles leaves what changed after that time, if it is not zero. The clock of files is
// coarse, so one that was changed right at the start is told by its fraction of a second.
func takeFiles(root *os.Root, s *api.TaskSpec, since time.Time) {
	_ = root.Remove(incomingFile) // what cannot be removed goes with the folder
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		fi, err := root.Lstat(name)
		if err != nil || !fi.Mode().IsRegular() || !since.IsZero() && (fi.ModTime().After(since) || fi.ModTime().Nanosecond() != 0) {
			continue
		}
		_ = root.Remove(name)
		for dir := path.Dir(name); dir != "." && root.Remove(dir) == nil; dir = path.Dir(dir) { // fails if there is something in it
		}
	}
}
