package keeper

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/mesita/mesita/executor/vouch"
)

// What one keeper says that the node does not have, none beside it may begin: it
// has them deny it before it says so, and one that starts asks the others what
// they denied before it begins anything. One of a version that knows nothing of
// this is not bound: the daemon starts below the newest.

// denyWithin is how long a keeper beside this one may take to deny: who asked
// waits, and asks again.
const denyWithin = 200 * time.Millisecond

// deny has attempts begin here no more, and returns those that did.
func (f *fates) deny(names []uint64) (have []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		if f.of[n] != vouch.Unknown {
			have = append(have, n)
			continue
		}
		f.denied.add(n)
	}
	return have
}

func (f *fates) allDenied() []uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.denied.order)
}

// alone are those of the names that are denied here, and not known to be denied
// by the others.
func (f *fates) alone(names []uint64) (out []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		if agreed, ok := f.denied.names[n]; ok && !agreed {
			out = append(out, n)
		}
	}
	return out
}

func (f *fates) agree(names []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		if _, ok := f.denied.names[n]; ok {
			f.denied.names[n] = true
		}
	}
}

// bind has the keepers beside this one deny what it is about to deny; false while
// not all of them answer, and then nothing is said: who asked for attempts asks
// again, and asks without whether the node is there. What one of them has begun
// meanwhile runs.
func (s *server) bind(names []uint64, a *vouch.Answer) bool {
	alone := s.fates.alone(names)
	if len(alone) == 0 {
		return true
	}
	begun, err := s.haveBeside(alone)
	if err != nil {
		return false
	}
	for i, n := range names {
		if a.Fates[i] == vouch.Unknown && slices.Contains(begun, n) {
			a.Fates[i] = vouch.Runs
		}
	}
	s.fates.agree(slices.DeleteFunc(alone, func(n uint64) bool { return slices.Contains(begun, n) }))
	return true
}

// haveBeside has the keepers beside this one deny attempts, and returns those that
// began there. It waits for them, but for no disk.
func (s *server) haveBeside(names []uint64) ([]uint64, error) {
	if !s.asking.TryLock() {
		return nil, errors.New("they are being asked")
	}
	type answers struct {
		begun []uint64
		err   error
	}
	done := make(chan answers, 1)
	s.tasks.Go(func() {
		defer s.asking.Unlock()
		begun, err := s.askBeside(message{Op: opDeny, Names: names}, denyWithin)
		done <- answers{begun, err}
	})
	late := time.NewTimer(maxKeepers * denyWithin)
	defer late.Stop()
	select {
	case a := <-done:
		return a.begun, a.err
	case <-late.C:
		return nil, errors.New("to find them takes long")
	}
}

// learnDenied denies what the keepers beside this new one denied.
func (s *server) learnDenied() error {
	names, err := s.askBeside(message{Op: opDenied}, spawnTime/2)
	if err != nil {
		return fmt.Errorf("ask the keepers beside this one what they said that is not here: %w", err)
	}
	s.fates.deny(names)
	return nil
}

// askBeside asks all keepers beside this one, and returns the names that they
// answer.
func (s *server) askBeside(m message, within time.Duration) ([]uint64, error) {
	out := map[uint64]bool{}
	for _, dir := range folders(s.cfg.Dir) {
		if dir == filepath.Clean(s.cfg.Dir) {
			continue
		}
		names, err := askKeeper(dir, m, within)
		if err != nil && !absent(err) {
			return nil, fmt.Errorf("the keeper in %s does not answer: %w", dir, err)
		}
		for _, n := range names {
			out[n] = true
		}
	}
	return slices.Collect(maps.Keys(out)), nil
}

func askKeeper(dir string, m message, within time.Duration) (names []uint64, err error) {
	k, h, err := dialWithin(dir, false, within)
	if err != nil {
		return nil, err
	}
	defer k.sock.Close()
	if !knowledge(h).all[featureDeny] {
		return nil, nil
	}
	b, err := encode(nil, &m)
	if err == nil {
		_, err = k.sock.Write(b)
	}
	if err != nil {
		return nil, err
	}
	r, err := k.awaited(opAnswer)
	if err != nil {
		return nil, err
	}
	return r.Names, r.Error.asError()
}
