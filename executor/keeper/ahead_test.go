package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/isolation"
)

// serverIn is a keeper that has its folder, of which no daemon knows.
func serverIn(t *testing.T, dir string, host *isolation.Host) *server {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		t.Cleanup(func() { lock.Close() })
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := newServer(Config{Dir: dir, Log: slog.New(slog.DiscardHandler)}, host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.tasks.Wait()
		s.beside.close()
		s.null.Close()
		_ = s.ledger.close()
	})
	return s
}

// aheadIn is a host, and the folders of keepers in it.
func aheadIn(t *testing.T) (*isolation.Host, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making cgroups needs root")
	}
	top := fmt.Sprintf("mesita-test-%d-%s", os.Getpid(), strings.ToLower(t.Name()))
	host, err := isolation.Detect(isolation.Config{Slice: top})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, err := host.List(); err != nil || len(left) > 0 {
			t.Errorf("slices are left: %v, %v", left, err)
			killSlices(context.Background(), host, slog.Default(), left)
		}
		groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + top)
		for _, g := range append(groups, filepath.Join("/sys/fs/cgroup", top)) {
			_ = os.Remove(g) // not all are there
		}
	})
	return host, filepath.Join(t.TempDir(), "keeper")
}

// ahead prepares a start that does not come, for as long as it is not dropped.
func (s *server) ahead(t *testing.T, id string) *earlyStart {
	t.Helper()
	r := &StartRequest{ID: id, Slice: "default/" + strings.NewReplacer(".", "/", "/", "-a").Replace(id)}
	s.prepare(nil, r)
	s.mu.Lock()
	e := s.early[id]
	s.mu.Unlock()
	e.drop.Stop()
	<-e.made
	if e.err != nil {
		t.Fatal(e.err)
	}
	return e
}

// What a keeper made early is its own for those that start beside it, and nobody's
// once it was dropped.
func TestAKeeperLeavesWhatIsEarlyBesideItAlone(t *testing.T) {
	host, dir := aheadIn(t)
	first, second := serverIn(t, dir, host), serverIn(t, dir+"-2", host)
	e := first.ahead(t, "a.0/1")
	nobody, err := host.Create("default/b/0-a1", isolation.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names, err := host.List(); err != nil || !slices.Equal(names, []string{e.req.Slice}) {
		t.Errorf("of %s and %s, which is nobody's, are there %v, %v", e.req.Slice, nobody.Name(), names, err)
	}
	first.dropEarly("a.0/1", e)
	if held, _, err := beside(second.cfg.Dir); err != nil || len(held) > 0 {
		t.Errorf("held are %v, %v", held, err)
	}
}

// To make something early is not a start: it is not told of, may not run, and does
// not outlive its keeper; what is told of its start stands in its place.
func TestNothingEarlyIsAStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keeper")
	other := dir + "-2"
	if err := os.MkdirAll(other, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(other, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	l, _, err := openLedger(other)
	if err != nil {
		t.Fatal(err)
	}
	id := func(n int) string { return fmt.Sprintf("a.%d/1", n) }
	slice := func(n int) string { return fmt.Sprintf("default/a/%d-a1", n) }
	for n := range 4 {
		if err := l.write(l.early(Status{ID: id(n), State: early, Slice: slice(n)})); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range []*entry{
		l.left(id(1)),
		l.start(Status{ID: id(2), State: Starting, Slice: slice(2)}),
		l.start(Status{ID: id(3), State: Starting, Slice: slice(3)}), l.forget(id(3)), // it failed
	} {
		if err := l.write(e); err != nil {
			t.Fatal(err)
		}
	}
	kept := func(what string, want ...bool) {
		t.Helper()
		held, dead, err := beside(dir)
		if err != nil || dead {
			t.Fatal(dead, err)
		}
		for n, want := range want {
			if got := ofOne(slice(n), held); got != want {
				t.Errorf("%s: the slice of %s is held: %v", what, id(n), got)
			}
		}
	}
	kept("by lines", true, false, true, false)
	p := &peer{cfg: ClientConfig{Dir: other}}
	for n, want := range []bool{false, false, true, false} {
		if got := p.mayBegin(t.Context(), id(n)); got != want {
			t.Errorf("%s may begin: %v", id(n), got)
		}
	}
	s := &server{known: map[string]*task{id(2): {status: Status{ID: id(2), State: Starting, Slice: slice(2)}}}, early: map[string]*earlyStart{}}
	for _, n := range []int{0, 2} {
		s.early[id(n)] = &earlyStart{req: &StartRequest{ID: id(n), Slice: slice(n)}}
	}
	if err := l.rewrite(s.all()); err != nil {
		t.Fatal(err)
	}
	kept("written anew", true, false, true, false)
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	lock.Close()
	kept("after its end", false, false, true, false)
	l, all, err := openLedger(other)
	if err != nil || len(all) != 1 || all[0].ID != id(2) || all[0].State != Lost {
		t.Errorf("the next keeper has %v, %v", all, err)
	}
	_ = l.close()
}

// What the keeper beside one begins while that one kills what nobody has is let be.
func TestAStartDuringASweep(t *testing.T) {
	s, _, other, _ := twoKeepers(t)
	var swept []string
	err := s.eachLeft([]string{"ml/a/0-a1", "ml/b/1-a1", "ml/b/2-a1"}, func(slice string) {
		if swept = append(swept, slice); len(swept) == 1 {
			add(t, other)
		}
	})
	if err != nil || !slices.Equal(swept, []string{"ml/a/0-a1", "ml/b/2-a1"}) {
		t.Errorf("%v, %v", swept, err)
	}
}

// A start that comes too late takes with it what was made for it: it is in no ledger
// any more.
func TestALateStartLeavesNothingEarly(t *testing.T) {
	host, dir := aheadIn(t)
	s := serverIn(t, dir, host)
	e := s.ahead(t, "a.0/1")
	r := *e.req
	r.By = 1
	a := &task{status: Status{ID: r.ID, State: Starting, Slice: r.Slice}}
	if _, err := s.begin(a, &r, s.ledger.start(a.status)); !errors.Is(err, errLate) {
		t.Error(err)
	}
	if names, err := host.List(); err != nil || len(names) > 0 {
		t.Errorf("%v, %v", names, err)
	}
}

// A slice that a start did not come for goes, also if the kernel counts a process
// in it for a while.
func TestASliceThatIsDroppedIsGone(t *testing.T) {
	host, dir := aheadIn(t)
	s := serverIn(t, dir, host)
	e := s.ahead(t, "a.0/1")
	stray, err := e.slice.Start(isolation.Spec{Program: isolation.Program{Path: "/bin/sleep", Args: []string{"sleep", "1000"}, Dir: "/"}}, isolation.Files{})
	if err != nil {
		t.Fatal(err)
	}
	dropped := make(chan struct{})
	go func() {
		defer close(dropped)
		s.dropEarly("a.0/1", e)
	}()
	select {
	case <-dropped:
	case <-time.After(100 * time.Millisecond): // to give up takes no time
	}
	if err := stray.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if _, err := stray.Wait(); err != nil {
		t.Error(err)
	}
	<-dropped
	if names, err := host.List(); err != nil || len(names) > 0 {
		t.Errorf("%v, %v", names, err)
	}
}
