package prepare

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// maxSpare bounds the folders that are made before they are asked for.
const maxSpare = 32

const spareName = "spare" // no dot: not an attempt's

// stock has folders made before they are asked for, as making one can cost as much
// as ten processes (ext4 without a journal looks over all inodes that were freed
// lately). Each is new and nobody's before: who had one as a task may have it open
// for ever, as a descriptor can be sent to anybody.
type stock struct {
	root string
	mode os.FileMode

	mu      sync.Mutex
	spare   []string
	filling bool
}

// make makes a folder, which is new unless that is an error.
func (s *stock) make(dir string) error {
	if spare := s.take(); spare != "" {
		if os.Rename(spare, dir) == nil { // not over one that is there
			return nil
		}
		_ = rmdir(spare) // what is wrong with it does not matter
	}
	return s.mkdir(dir)
}

func (s *stock) mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil || s.mode == 0o700 {
		return err
	}
	return os.Chmod(dir, s.mode) // the umask is not asked
}

func (s *stock) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.spare)
	if n == 0 {
		return ""
	}
	dir := s.spare[n-1]
	s.spare = s.spare[:n-1]
	return dir
}

// Low tells whether it is time to Fill it, and nobody does: many are made at once,
// since whoever makes one has all others wait that come to the same folder.
func (s *stock) Low() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.filling && len(s.spare) <= maxSpare/2
}

// Fill makes folders until there are enough, or ctx ends. What cannot be made here
// is made, and told of, when it is asked for.
func (s *stock) Fill(ctx context.Context) {
	s.mu.Lock()
	want := maxSpare - len(s.spare)
	if s.filling {
		want = 0
	}
	s.filling = s.filling || want > 0
	s.mu.Unlock()
	if want <= 0 {
		return
	}
	for range want {
		dir := filepath.Join(s.root, spareName+unique())
		if ctx.Err() != nil || s.mkdir(dir) != nil {
			break
		}
		s.mu.Lock()
		s.spare = append(s.spare, dir)
		s.mu.Unlock()
	}
	s.mu.Lock()
	s.filling = false
	s.mu.Unlock()
}

// unique is a part of a name that none had before, whichever daemon gave it.
func unique() string { return strconv.FormatUint(rand.Uint64(), 36) }
