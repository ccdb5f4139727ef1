package prepare

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mesita/mesita/api"
)

// noticeName is the file that tells a task that it will have to leave.
const noticeName = ".mesita-notice"

// noticePath is where a task finds its notice: in its own folder or, where that is
// another's, in its own /tmp; "" if it has neither.
func (p *Preparer) noticePath(id string, s *api.TaskSpec) string {
	switch {
	case s.Dir == "" || s.User == api.TaskUser:
		return filepath.Join(p.Folders.Dir(id), noticeName)
	case inTemp(filepath.Join(tempPath, noticeName), s):
		return filepath.Join(tempPath, noticeName)
	}
	return ""
}

// Notify writes what an attempt is to know before it has to leave, all of it or
// nothing. An attempt that has no place for it is not an error: it was told of none.
func (p *Preparer) Notify(id string, s *api.TaskSpec, text []byte) error {
	switch path := p.noticePath(id, s); {
	case path == "":
		return nil
	case filepath.Dir(path) != tempPath:
		return writeNotice(filepath.Dir(path), text)
	}
	var errs []error
	for _, dir := range p.Temps.Of(id) {
		errs = append(errs, writeNotice(dir, text))
	}
	return errors.Join(errs...)
}

// writeNotice follows no link that the task may have put into its folder.
func writeNotice(dir string, text []byte) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("give a task notice: %w", err)
	}
	defer root.Close()
	const fresh = noticeName + ".new"
	if err := root.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a daemon that was killed
		return fmt.Errorf("give a task notice: %w", err)
	}
	f, err := root.OpenFile(fresh, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
	if err != nil {
		return fmt.Errorf("give a task notice: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o444), f.Close()); err == nil { // whatever the umask is
		err = root.Rename(fresh, noticeName)
	}
	if err != nil {
		_ = root.Remove(fresh) // a disk that is full has room for nothing else then
		return fmt.Errorf("give a task notice: %w", err)
	}
	return nil
}
