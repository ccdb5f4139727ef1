package cluster

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// checkWorld is a leader with two other voters, whose states are what the test
// says.
type checkWorld struct {
	t      *testing.T
	store  *fsm.Store
	loop   *checkLoop
	states map[string]string // by node id; missing: does not answer
	late   time.Time         // when b answers after all, with another state; zero = never
	unwell map[string]bool   // by node id; says that it cannot do its part
	asked  int
}

func newCheckWorld(t *testing.T) *checkWorld {
	w := &checkWorld{t: t, store: fsm.NewStore(nil), states: map[string]string{"a": "x", "b": "x", "c": "x"}}
	w.do(&fsm.ClusterInit{Level: fsm.Newest, Cluster: &api.Cluster{ID: "c"}, Authority: &api.Authority{}, Node: &api.Node{ID: "a", Name: "a"}})
	w.loop = &checkLoop{store: w.store, voters: func() []string { return []string{"a", "b", "c"} }, alive: func(string) bool { return true }, why: func(_ context.Context, id string) (string, bool) { return "disk full of " + id, w.unwell[id] }, log: slog.New(slog.DiscardHandler),
		meta: func() fsm.Meta { return fsm.Meta{At: time.Now()} },
		answer: func(_ context.Context, id string, of uint64) (api.StateAnswer, error) {
			w.asked++
			if id == "b" && !w.late.IsZero() && !time.Now().Before(w.late) {
				w.states["b"], w.late = "y", time.Time{}
			}
			if w.states[id] == "" {
				return api.StateAnswer{}, errors.New("no answer")
			}
			return api.StateAnswer{NodeID: id, Version: "1", State: w.states[id]}, nil
		}}
	return w
}

func (w *checkWorld) do(c fsm.Command) {
	w.t.Helper()
	if _, err := w.store.Do(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
}

// write makes some entries.
func (w *checkWorld) write() {
	w.t.Helper()
	w.do(&fsm.NodeHello{ID: "a", Hello: api.NodeHello{Addr: time.Now().String()}})
}

// after lets time pass, and returns the last check and how many were made.
func (w *checkWorld) after(d time.Duration) (last *api.StateCheck, made int) {
	w.t.Helper()
	before := w.store.View().StateCheck()
	for range int(d / checkLook) {
		time.Sleep(checkLook) // fake
		if err := w.loop.pass(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		if now := w.store.View().StateCheck(); now != before {
			before = now
			made++
		}
	}
	return before, made
}

func TestStatesAreCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCheckWorld(t)
		w.loop.since = time.Now()
		if _, made := w.after(9 * time.Minute); made != 0 {
			t.Fatalf("%d checks too early", made)
		}
		if _, made := w.after(2 * time.Minute); made != 1 {
			t.Fatalf("%d checks ten minutes after something was written", made)
		}
		w.after(time.Minute)
		w.asked = 0
		if _, made := w.after(3 * time.Hour); made != 0 || w.asked != 0 {
			t.Errorf("%d checks and %d questions though nothing was written", made, w.asked)
		}
		w.write()
		if c, made := w.after(time.Minute); made != 1 || len(c.Answers) != 3 || len(c.Odd) != 0 {
			t.Errorf("%d checks, the last %+v", made, c)
		}
	})
}

// One that differs is found within seconds of its answer, not at the next
// check; and once it is filled anew its incident is over.
func TestOddVoterIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCheckWorld(t)
		w.loop.since = time.Now()
		w.after(10 * time.Minute)
		w.states["b"] = "y"
		c, made := w.after(20 * time.Second)
		if made != 1 || len(c.Odd) != 1 || c.Odd[0] != "b" {
			t.Fatalf("%d checks, the last %+v", made, c)
		}
		w.states["b"] = "" // it is away, and never answers the check that came with the verdict
		w.after(time.Minute)
		w.states["b"] = "x"
		if c, _ = w.after(5 * time.Minute); len(c.Odd) != 0 {
			t.Errorf("it is odd still: %+v", c)
		}
		for n := range w.store.View().Incidents() {
			if n.Over.IsZero() {
				t.Errorf("open: %+v", n)
			}
		}
	})
}

// Two that differ are not judged while the third, which may make a majority,
// is there and has not answered; but not for ever.
func TestThirdVoterDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCheckWorld(t)
		w.loop.since = time.Now()
		w.after(10 * time.Minute)
		w.states["b"], w.states["c"] = "y", ""
		c, made := w.after(3 * time.Minute)
		if made != 1 || c.Split || len(c.Answers) != 0 {
			t.Fatalf("%d checks, the last %+v", made, c)
		}
		w.states["c"] = "x"
		if c, _ = w.after(20 * time.Second); c.Split || len(c.Odd) != 1 || c.Odd[0] != "b" {
			t.Fatalf("the third answered: %+v", c)
		}
		w.states["c"] = ""
		if c, _ = w.after(15 * time.Minute); !c.Split {
			t.Errorf("the third never answers: %+v", c)
		}
		w.states = map[string]string{"a": "x", "b": "x", "c": "x"}
		if c, _ = w.after(5 * time.Minute); c.Split {
			t.Errorf("they are alike again: %+v", c)
		}
	})
}

// While two voters differ, neither a check by hand, nor the restart of one, nor
// a third that is there and silent lets anything be written.
func TestSplitLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCheckWorld(t)
		w.loop.since = time.Now()
		w.states["b"] = "y"
		voters, alive := []string{"a", "b"}, true
		w.loop.voters, w.loop.alive = func() []string { return voters }, func(string) bool { return alive }
		if c, _ := w.after(15 * time.Minute); !c.Split {
			t.Fatalf("two differ: %+v", c)
		}
		held := func(when string) {
			t.Helper()
			if c := w.store.View().StateCheck(); !c.Split || len(c.Answers) < 2 || c.Of == 0 {
				t.Errorf("%s: %+v", when, c)
			}
			if err := w.store.View().Allows(&fsm.JobCreate{}); api.ErrorCode(err) != api.CodeUnavailable {
				t.Errorf("%s a job is taken: %v", when, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.states["b"] = ""
		if _, err := w.loop.checkNow(ctx); api.ErrorCode(err) != api.CodeTimeout {
			t.Errorf("one is silent: %v", err)
		}
		held("after a check by hand that one did not answer")
		w.after(5 * time.Minute)
		held("after the restart of one")
		alive = false
		if c, err := w.loop.checkNow(t.Context()); err != nil || !c.Split {
			t.Errorf("one is down: %+v, %v", c, err)
		}
		if _, made := w.after(10 * time.Minute); made > 5 {
			t.Errorf("%d checks in 10 minutes while one is down", made)
		}
		held("while one is down")
		voters, alive, w.states["b"], w.states["c"] = []string{"a", "b", "c"}, true, "y", ""
		for range 20 {
			w.after(time.Minute)
			held("while a third is silent")
		}
		voters, w.states["b"] = []string{"a", "c"}, ""
		w.states["c"] = "x"
		if c, _ := w.after(3 * time.Minute); c.Split {
			t.Errorf("two of three agree: %+v", c)
		}
	})
}

// A check that was asked for waits for the answers, as long as its caller does.
func TestCheckNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCheckWorld(t)
		if c, err := w.loop.checkNow(t.Context()); err != nil || len(c.Answers) != 3 || len(c.Odd) != 0 {
			t.Errorf("%+v: %v", c, err)
		}
		w.states["b"], w.late = "", time.Now().Add(3*time.Second)
		if c, err := w.loop.checkNow(t.Context()); err != nil || len(c.Odd) != 1 {
			t.Errorf("%+v: %v", c, err)
		}
		w.states["b"] = ""
		for _, unwell := range []bool{false, true} {
			w.unwell = map[string]bool{"b": unwell}
			within := 25 * time.Second // a client gives up after 30 s
			if unwell {
				within = 4 * time.Second // a node that passes it on to the leader, after 5 s
			}
			began := time.Now() // fake
			_, err := w.loop.checkNow(t.Context())
			if api.ErrorCode(err) != api.CodeTimeout || !strings.Contains(err.Error(), "of only 2 voters are known, and not that of b (disk full of b)") {
				t.Errorf("one never answers: %v", err)
			}
			if d := time.Since(began); d > within {
				t.Errorf("that is told after %s, unwell: %v", d, unwell)
			}
		}
	})
}

// A verdict of an earlier life is not one on the state that was filled in
// since.
func TestVerdictCountsOnce(t *testing.T) {
	w := newCheckWorld(t)
	a := &Agent{store: w.store, self: &datadir.Node{NodeID: "b"}, log: slog.New(slog.DiscardHandler)}
	verdict := func() {
		w.do(&fsm.StateCheck{Of: 7, Answers: []api.StateAnswer{{NodeID: "a", State: "x"}, {NodeID: "b", State: "y"}, {NodeID: "c", State: "x"}}})
	}
	verdict()
	if c := a.verdict(); c != nil {
		t.Errorf("an earlier life's: %+v", c)
	}
	a.found.add(stateAnswer{7, api.StateAnswer{NodeID: "b"}})
	if a.verdict() == nil {
		t.Error("its own does not count")
	}
	for i := range uint64(2 * answersKept) {
		a.found.add(stateAnswer{i, api.StateAnswer{NodeID: "b"}})
	}
	if _, ok := a.found.find(2); ok || len(a.found.all) != answersKept {
		t.Errorf("%d answers are kept", len(a.found.all))
	}
}

// An odd voter stays while the rest would be no quorum without it: else nobody
// could fill it anew.
func TestOddVoterStaysForTheQuorum(t *testing.T) {
	for _, c := range []struct {
		name, voters, answered, odd, down string
		leaves                            bool
	}{
		{"one of three", "abc", "abc", "c", "", true},
		{"one of three, and another went down since", "abc", "abc", "c", "b", false},
		{"one of five, two are down", "abcde", "abd", "d", "ce", false},
		{"one of five, one is down", "abcde", "abcd", "d", "e", true},
		{"one of five, one is there and empty", "abcde", "abd", "d", "c", false},
		{"two of seven, two are down", "abcdefg", "abcde", "de", "fg", false},
		{"who is not a voter any more does not count", "abcde", "abdxy", "d", "ce", false},
	} {
		check := &api.StateCheck{Odd: strings.Split(c.odd, "")}
		for _, id := range strings.Split(c.answered, "") {
			check.Answers = append(check.Answers, api.StateAnswer{NodeID: id})
		}
		alive := func(id string) bool { return !strings.Contains(c.down, id) }
		if got := othersDecide(check, strings.Split(c.voters, ""), alive); got != c.leaves {
			t.Errorf("%s: leaves %v", c.name, got)
		}
	}
}

// Two builds that call themselves the same version are not compared, as they may
// write the same state differently; an answer says which it is of.
func TestBuildsAreNotCompared(t *testing.T) {
	w := newCheckWorld(t)
	a := &Agent{store: w.store, self: &datadir.Node{NodeID: "a"}, cfg: Config{Version: "0.1.0"}, log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.answerChecks(ctx) }()
	w.do(&fsm.StateCheck{})
	var mine api.StateAnswer
	for ok := false; !ok; runtime.Gosched() {
		mine, ok = a.found.find(w.store.View().Index())
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	same, err := buildOf(self, "0.1.0")
	if err != nil || mine.Version != same {
		t.Errorf("the answer is of %q, this program is %q: %v", mine.Version, same, err)
	}
	path := filepath.Join(t.TempDir(), "mesita")
	if err := os.WriteFile(path, []byte("another build"), 0o755); err != nil {
		t.Fatal(err)
	}
	other, err := buildOf(path, "0.1.0")
	if err != nil || other == same {
		t.Fatalf("another build is %q too: %v", other, err)
	}
	theirs := mine
	theirs.NodeID, theirs.Version, theirs.State = "b", other, "y"
	if differ([]api.StateAnswer{mine, theirs}) {
		t.Error("two builds are compared")
	}
	if _, err := buildOf(path+"x", "0.1.0"); err == nil {
		t.Error("a program that cannot be read has a name")
	}
}
