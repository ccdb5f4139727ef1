package keeper

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mesita/mesita/executor/vouch"
	"golang.org/x/sys/unix"
)

// twoKeepers is a keeper beside one that runs b.0/1, as they are on disk; lock is
// what the other has open for as long as it lives.
func twoKeepers(t *testing.T) (s *server, top, other string, lock *os.File) {
	t.Helper()
	top = filepath.Join(t.TempDir(), "top")
	dir := filepath.Join(top, "data", "keeper")
	other = dir + "-2"
	for _, d := range []string{dir, other} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(other, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	l, _, err := openLedger(other)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.close() })
	if err := os.WriteFile(filepath.Join(other, pidFile), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.write(l.start(Status{ID: "b.0/1", State: Running})); err != nil {
		t.Fatal(err)
	}
	s = &server{cfg: Config{Dir: dir}}
	t.Cleanup(s.beside.close)
	return s, top, other, lock
}

// settled is a look at a time when nothing has changed for a while.
func (n *neighbours) settled(t *testing.T, dir string) {
	t.Helper()
	if _, _, err := n.look(dir); err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	n.changed = n.changed.Add(-2 * neighboursSettle)
	n.mu.Unlock()
	if _, _, err := n.look(dir); err != nil {
		t.Fatal(err)
	}
}

// A keeper answers for those beside it without its disk, which may hang.
func TestNeighboursAreKnownWithoutTheDisk(t *testing.T) {
	s, top, other, _ := twoKeepers(t)
	s.beside.settled(t, s.cfg.Dir)
	// Where the folders were is now what nobody answers for. That the folder above
	// moves is told to nobody.
	if err := os.Rename(top, top+".aside"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(other, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{lockFile, pidFile, ledgerFile} {
		if err := unix.Mkfifo(filepath.Join(other, f), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	answered := make(chan vouch.Fate)
	go func() {
		if a, ok := s.answer([]uint64{vouch.Name("b.0/1")}); ok {
			answered <- a.Fates[0]
		}
		close(answered)
	}()
	select {
	case f := <-answered:
		if f != vouch.Runs {
			t.Errorf("of a task of the keeper beside the answer is %v", f)
		}
	case <-time.After(time.Minute):
		t.Error("the answer waits for the disk")
	}
}

// What changes beside a keeper is in its next answer, however it is written.
func TestNeighboursThatChange(t *testing.T) {
	rewrite := func(t *testing.T, dir string) {
		l, all, err := openLedger(dir)
		if err == nil {
			err = errors.Join(l.rewrite(append(all, started)), l.close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for what, change := range map[string]func(t *testing.T, other string){
		"a line":         func(t *testing.T, other string) { add(t, other) },
		"a new ledger":   rewrite,
		"a third keeper": func(t *testing.T, other string) { add(t, other[:len(other)-1]+"3") },
		"one that moves here": func(t *testing.T, other string) {
			made := filepath.Join(t.TempDir(), "made")
			add(t, made)
			if err := os.Rename(made, other[:len(other)-1]+"4"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			s, _, other, _ := twoKeepers(t)
			s.beside.settled(t, s.cfg.Dir)
			change(t, other)
			if a, ok := s.answer([]uint64{vouch.Name("b.1/1")}); !ok || a.Fates[0] != vouch.Runs {
				t.Errorf("of a task that has just started the answer is %+v, %v", a, ok)
			}
		})
	}
	t.Run("one that dies", func(t *testing.T) {
		s, _, _, lock := twoKeepers(t)
		s.beside.settled(t, s.cfg.Dir)
		lock.Close()
		if a, ok := s.answer(nil); ok {
			t.Errorf("beside a dead keeper the answer is %+v", a)
		}
	})
}

var started = Status{ID: "b.1/1", State: Running}

// add writes one line into the ledger of a keeper.
func add(t *testing.T, dir string) {
	t.Helper()
	b, err := line{Start: &started}.encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, ledgerFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// A keeper that does not write down the slices of its tasks has them under the
// names that daemons of any version asked for.
func TestSlicesOfAKeeperThatDoesNotTell(t *testing.T) {
	for slice, want := range map[string]bool{
		"ml/web/0-a3": true, "ml/x/job.web/0-a3": true, "ml/ob.web/0-a3": false, "ml/job.other-web/0-a3": false, "ml/web/0-a33": false, "ml/web/1-a3": false,
	} {
		if got := ofOne(slice, []Status{{ID: "web.0/3", State: Running}}); got != want {
			t.Errorf("%s: %v", slice, got)
		}
		if ofOne(slice, []Status{{ID: "web.0/3", State: Running, Slice: "ml/job.web/0-a3"}}) || ofOne(slice, []Status{{ID: "web.0/3", State: Ended}}) {
			t.Errorf("%s is kept", slice)
		}
	}
}
