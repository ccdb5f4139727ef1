package prepare

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// The folders that are made before they are asked for: few, and twice as many each
// time that these run low. A node that starts has other things to do than to make
// folders for bursts that may never come.
const (
	firstSpare = 2
	maxSpare   = 32
)

const spareName = "spare" // no dot: not an attempt's

// privateMode is that of a folder which is its attempt's user's alone.
const privateMode os.FileMode = 0o700

// stock has folders made before they are asked for, as making one can cost as much
// as ten processes (ext4 without a journal looks over all inodes that were freed
// lately), and those that attempts left as they were made, each for its heir.
type stock struct {
	root string
	mode os.FileMode

	mu      sync.Mutex
	spare   []folder // new: nobody had them
	size    int      // how many there were when they were filled last
	filling bool
	given   map[string]gift // by path: those that have an heir
	kept    kept
	left    []string // to be removed
}

func newStock(root string, mode os.FileMode) stock {
	return stock{root: root, mode: mode, given: map[string]gift{}, kept: kept{of: map[heir]*ofOne{}}}
}

// make makes a folder, which is new, or the heir's, unless that is an error.
func (s *stock) make(dir string, after heir) error {
	f, ok := s.take(after)
	for ok && after != (heir{}) && !s.asMade(f, after) {
		s.drop(f.dir) // who has it open from before put something there since it was kept
		f, ok = s.take(after)
	}
	if ok {
		err := give(f.dir, dir)
		if err == nil {
			s.note(dir, f.mark, after)
			return nil
		}
		if rmdir(f.dir) != nil { // what is wrong with it does not matter
			s.drop(f.dir)
		}
	}
	m, err := s.mkdir(dir)
	if err == nil {
		s.note(dir, m, after)
	}
	return err
}

// note takes note of who has a folder after its attempt.
func (s *stock) note(dir string, m mark, after heir) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if after == (heir{}) || m == (mark{}) {
		delete(s.given, dir)
	} else {
		s.given[dir] = gift{after, m}
	}
}

// mkdir makes a new one. Without a mark it is not used again.
func (s *stock) mkdir(dir string) (mark, error) {
	if err := os.Mkdir(dir, privateMode); err != nil {
		return mark{}, err
	}
	if s.mode != privateMode {
		if err := os.Chmod(dir, s.mode); err != nil { // the umask is not asked
			return mark{}, err
		}
	}
	m, _, err := look(dir)
	if err != nil {
		m = mark{}
	}
	return m, nil
}

// take is a folder of the heir's, or a new one.
func (s *stock) take(after heir) (f folder, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok = s.kept.take(after); ok {
		return f, true
	}
	n := len(s.spare)
	if n == 0 {
		return folder{}, false
	}
	f = s.spare[n-1]
	s.spare = s.spare[:n-1]
	return f, true
}

// Low reports whether it is time to Fill it, and nobody does: many are made at once,
// since whoever makes one has all others wait that come to the same folder.
func (s *stock) Low() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.low()
}

func (s *stock) low() bool { return !s.filling && len(s.spare) <= s.size/2 }

// Fill makes folders if there are few, until there are enough or ctx ends. What cannot
// be made here is made, and told of, when it is asked for.
func (s *stock) Fill(ctx context.Context) {
	s.mu.Lock()
	if !s.low() {
		s.mu.Unlock()
		return
	}
	s.filling = true
	s.size = min(max(2*s.size, firstSpare), maxSpare)
	want := s.size - len(s.spare)
	s.mu.Unlock()
	for range want {
		dir := filepath.Join(s.root, spareName+unique())
		if ctx.Err() != nil {
			break
		}
		m, err := s.mkdir(dir)
		if err != nil {
			break
		}
		s.mu.Lock()
		s.spare = append(s.spare, folder{dir, m})
		s.mu.Unlock()
	}
	s.mu.Lock()
	s.filling = false
	s.mu.Unlock()
}

// unique is a part of a name that none had before, whichever daemon gave it.
func unique() string { return strconv.FormatUint(rand.Uint64(), 36) }
