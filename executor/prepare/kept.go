package prepare

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
)

// heir is for whom a folder is that its attempt left as it was made: for an attempt
// of the same, and for nobody else, since whoever had it may have it open for ever, or
// have sent that on. The zero value: for nobody, it is removed.
type heir struct {
	submission uint64 // of the job: its name may be another's some day
	version    int
	partition  string
	holder     numbers
}

// heirOf is who has the folders of a task after it: its job if that has many or tries
// again, if its confinement is whole, and if it is not a user of its own.
func heirOf(t *api.Task, s *api.TaskSpec, submission uint64, who account) heir {
	if submission == 0 || t.Index == 0 && t.Attempt <= 1 || s.Lifts() != "" || who.own {
		return heir{}
	}
	return heir{submission, t.Version, t.Partition, numbers{who.uid, who.gid}}
}

const (
	maxKept       = 512 // folders of either kind
	maxKeptOfOne  = 256
	maxTrimmed    = 16 // of those that one Trim removes
	idleAfterTrim = 2  // how often Trim finds that nobody came for them before they go
)

// folder is one that is to be given.
type folder struct {
	dir  string
	mark mark
}

// gift is what is known of a folder that was given.
type gift struct {
	heir heir
	mark mark
}

// kept are the folders that were left as they were made. The lock of the stock
// guards it.
type kept struct {
	of   map[heir]*ofOne
	all  int
	used uint64 // counts uses
}

type ofOne struct {
	folders []folder
	used    uint64
	idle    int // passes of Trim since
}

// take is the folder that was left last.
func (k *kept) take(h heir) (folder, bool) {
	one := k.of[h]
	if one == nil {
		return folder{}, false
	}
	k.used++
	one.used, one.idle = k.used, 0
	return k.pop(h, one), true
}

func (k *kept) pop(h heir, one *ofOne) folder {
	last := len(one.folders) - 1
	f := one.folders[last]
	one.folders = one.folders[:last]
	k.all--
	if last == 0 {
		delete(k.of, h)
	}
	return f
}

// put keeps a folder, and returns which has to go for it: that one itself if its heir
// has enough, or one of the heir that used none for longest.
func (k *kept) put(h heir, f folder) (out folder, full bool) {
	one := k.of[h]
	if one != nil && len(one.folders) >= maxKeptOfOne {
		return f, true
	}
	if one == nil {
		one = &ofOne{}
		k.of[h] = one
	}
	k.used++
	one.used, one.idle = k.used, 0
	one.folders = append(one.folders, f)
	if k.all++; k.all <= maxKept {
		return folder{}, false
	}
	oldest, least := heir{}, uint64(math.MaxUint64)
	for h, one := range k.of {
		if one.used < least {
			oldest, least = h, one.used
		}
	}
	return k.pop(oldest, k.of[oldest]), true
}

// trim returns some of those that nobody came for.
func (k *kept) trim(most int) (out []folder) {
	for h, one := range k.of {
		if one.idle++; one.idle < idleAfterTrim {
			continue
		}
		for len(out) < most && k.of[h] == one {
			out = append(out, k.pop(h, one))
		}
	}
	return out
}

// give renames one to where nothing is.
func give(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // the file system knows no flags
		return os.Rename(from, to) // which looks first whether a folder is there
	}
	return err
}

// keep has a folder be its heir's, if it was left as it was made. Every process of its
// attempt has to be gone.
func (s *stock) keep(dir string) bool {
	s.mu.Lock()
	g, ok := s.given[dir]
	delete(s.given, dir)
	s.mu.Unlock()
	if !ok {
		return false
	}
	if !s.asMade(folder{dir, g.mark}, g.heir) {
		return false
	}
	f := folder{filepath.Join(s.root, spareName+unique()), g.mark}
	if give(dir, f.dir) != nil { // as of one over which there is a mount
		return false
	}
	s.mu.Lock()
	out, full := s.kept.put(g.heir, f)
	s.mu.Unlock()
	if full && rmdir(out.dir) != nil { // somebody who has it open put something there
		s.drop(out.dir)
	}
	return true
}

// asMade reports whether a folder is as it was made, for nobody yet or for that heir.
func (s *stock) asMade(f folder, of heir) bool {
	m, owner, err := look(f.dir)
	ours := owner == numbers{uint32(os.Geteuid()), uint32(os.Getegid())}
	return err == nil && m == f.mark && (ours || s.mode == privateMode && owner == of.holder)
}

// Trim removes some of the folders that are kept for attempts that did not come, or
// that an earlier daemon left, until ctx ends, and reports whether there are more: many
// that are removed at once make those slow that are made meanwhile.
func (s *stock) Trim(ctx context.Context) (more bool) {
	s.mu.Lock()
	n := min(len(s.left), maxTrimmed)
	out := slices.Clone(s.left[:n])
	s.left = slices.Delete(s.left, 0, n)
	for _, f := range s.kept.trim(maxTrimmed) {
		out = append(out, f.dir)
	}
	s.mu.Unlock()
	for _, dir := range out {
		if err := removeFolder(ctx, dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.drop(dir)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept.all > 0 || len(s.left) > 0
}

// drop leaves a spare folder to a Trim.
func (s *stock) drop(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = append(s.left, dir)
}

// forget has a folder have no heir, but this one if it has.
func (s *stock) forget(dir string, but heir) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if but == (heir{}) || s.given[dir].heir != but {
		delete(s.given, dir)
	}
}
