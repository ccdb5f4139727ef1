package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mesita/mesita/api/cli/option"
)

const (
	namesFresh = 3 * time.Second // for so long what was told is not asked again, also that nobody answered
	namesLast  = time.Hour       // and for so long it is shown where nobody answers
	maxNames   = 1 << 20         // bytes of a file with them
)

// nameStore is what the cluster told of one list, in a file of the user's cache: who
// completes a line asks several times within seconds. Whatever is wrong with the file, it
// is as if there was none.
type nameStore struct {
	path string // "" = there is no place for it
	had  storedNames
}

type storedNames struct {
	Key   string    `json:"key"`   // of the question
	At    time.Time `json:"at"`    // when they were told
	Tried time.Time `json:"tried"` // when it was last asked
	Names []string  `json:"names"`
}

// openNames is the store of a question to one cluster by one user.
func openNames(addr, socket string, q question) *nameStore {
	login := ""
	if path, err := contextPath(); err == nil { // another login sees other things
		if fi, err := os.Stat(path); err == nil {
			login = fi.ModTime().String()
		}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", []string{addr, socket, os.Getenv("MESITA_TOKEN"), login, q.path, q.query.Encode()}))
	s := &nameStore{had: storedNames{Key: hex.EncodeToString(sum[:])}}
	dir, err := os.UserCacheDir()
	if err != nil {
		return s
	}
	// So few files there are at most: a later question takes the place of another.
	s.path = filepath.Join(dir, "mesita", "names-"+s.had.Key[:2]+".json")
	b, err := option.ReadFile("names", s.path, maxNames)
	var had storedNames
	if err == nil && json.Unmarshal(b, &had) == nil && had.Key == s.had.Key {
		s.had = had
	}
	return s
}

// fresh is what need not be asked again.
func (s *nameStore) fresh() ([]string, bool) {
	if since := time.Since(s.had.Tried); since < 0 || since > namesFresh {
		return nil, false
	}
	return s.last(), true
}

// last is what there is where nobody answers.
func (s *nameStore) last() []string {
	if since := time.Since(s.had.At); since < 0 || since > namesLast {
		return nil
	}
	return s.had.Names
}

// missed notes that nobody answered.
func (s *nameStore) missed() []string {
	s.had.Tried = time.Now()
	s.write()
	return s.last()
}

func (s *nameStore) keep(names []string) {
	s.had.At, s.had.Names = time.Now(), names
	s.had.Tried = s.had.At
	s.write()
}

func (s *nameStore) write() {
	if s.path == "" || os.MkdirAll(filepath.Dir(s.path), 0o700) != nil {
		return
	}
	// A file that cannot be written, or is cut short, is one that is not there.
	if f, err := os.CreateTemp(filepath.Dir(s.path), "names-"); err == nil {
		err = json.NewEncoder(f).Encode(s.had)
		if f.Close() != nil || err != nil || os.Rename(f.Name(), s.path) != nil {
			_ = os.Remove(f.Name())
		}
	}
}
