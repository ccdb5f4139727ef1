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
// Each is new, under a name that none had before: what is still being removed is
// never what somebody has, whatever ids come back.
type Temps struct {
	stock

	mu   sync.Mutex
	of   map[string][]string // by attempt; more than one if it was prepared again
	left []string            // nobody's
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
	t := &Temps{stock: stock{root: root, mode: tempMode}, of: map[string][]string{}}
	dirs, err := os.ReadDir(root)
	for _, d := range dirs {
		dir := filepath.Join(root, d.Name())
		name, _, _ := strings.Cut(d.Name(), uniqueSign)
		if id := attempt(name); id != "" {
			t.of[id] = append(t.of[id], dir)
		} else if strings.HasPrefix(name, spareName) {
			t.left = append(t.left, dir)
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
func (t *Temps) Make(id string) (string, error) {
	dir := filepath.Join(t.root, strings.Replace(id, "/", ".", 1)+uniqueSign+unique())
	if err := t.stock.make(dir); err != nil {
		return "", err
	}
	t.mu.Lock()
	t.of[id] = append(t.of[id], dir)
	t.mu.Unlock()
	return dir, nil
}

// Ended has what an attempt had be nobody's: it is for Remove.
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
	dirs := t.left
	t.left = nil
	for id, of := range t.of {
		if !live[id] {
			dirs = append(dirs, of...)
			delete(t.of, id)
		}
	}
	slices.Sort(dirs)
	return dirs
}

// Remove removes one that is nobody's, which may take long: until ctx ends.
func (t *Temps) Remove(ctx context.Context, dir string) error {
	err := removeFolder(ctx, dir)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left = append(t.left, dir)
	return err
}
