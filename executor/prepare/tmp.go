package prepare

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Temps makes the folders that are attempts' /tmp. They are on disk, as what
// programs put there can be much: a build's, or what a sort does not hold in memory.
// Each has a name that none had before: what is still being removed is never what
// somebody has, whatever ids come back.
type Temps struct {
	stock

	mu  sync.Mutex
	of  map[string][]string // by attempt; more than one if it was prepared again
	old []string            // nobody's
}

// OpenTemps finds those that an earlier daemon left. Nobody but root comes to what
// is in root, where any user may write.
func OpenTemps(root string) (*Temps, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(root, 0o700); err != nil {
		return nil, err
	}
	t := &Temps{stock: newStock(root, tempMode), of: map[string][]string{}}
	dirs, err := os.ReadDir(root)
	for _, d := range dirs {
		dir := filepath.Join(root, d.Name())
		name, _, _ := strings.Cut(d.Name(), uniqueSign)
		if id := attempt(name); id != "" {
			t.of[id] = append(t.of[id], dir)
		} else if strings.HasPrefix(name, spareName) {
			t.old = append(t.old, dir)
		}
	}
	return t, err
}

const (
	tempMode   = os.ModeSticky | 0o777
	uniqueSign = "+" // in no id
)

// Make makes an attempt's, and returns where it is. What an earlier try made goes
// with it: the keeper may have begun with that.
func (t *Temps) Make(id string, after heir) (string, error) {
	dir := filepath.Join(t.root, strings.Replace(id, "/", ".", 1)+uniqueSign+unique())
	if err := t.stock.make(dir, after); err != nil {
		return "", err
	}
	t.mu.Lock()
	t.of[id] = append(t.of[id], dir)
	t.mu.Unlock()
	return dir, nil
}

// Of lists what an attempt has.
func (t *Temps) Of(id string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.of[id])
}

// Ended has what an attempt had be nobody's: it is for Keep, or for Remove.
func (t *Temps) Ended(id string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	dirs := t.of[id]
	delete(t.of, id)
	return dirs
}

// Nobodys has what all others had than these attempts be nobody's: it is for Remove,
// with what could not be removed before.
func (t *Temps) Nobodys(live map[string]bool) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	dirs := t.old
	t.old = nil
	for id, of := range t.of {
		if !live[id] {
			dirs = append(dirs, of...)
			delete(t.of, id)
		}
	}
	slices.Sort(dirs)
	return dirs
}

// Keep has those of an attempt of which every process is gone be its job's, if they
// are as they were made, and returns the others, which are for Remove.
func (t *Temps) Keep(dirs []string) []string {
	return slices.DeleteFunc(dirs, t.keep)
}

// Remove removes one that is nobody's, which may take long: until ctx ends.
func (t *Temps) Remove(ctx context.Context, dir string) error {
	t.forget(dir, heir{})
	err := removeFolder(ctx, dir)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.old = append(t.old, dir)
	return err
}
