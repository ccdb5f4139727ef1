package fsm

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

func stateHash(t *testing.T, v *View) string {
	t.Helper()
	state, log, err := v.StateHash()
	if err != nil {
		t.Fatal(err)
	}
	return state + " " + log
}

// Voters that applied the same log hold the same, whether from its beginning
// or from a snapshot at any index; one letter more in any row is seen.
func TestStateHash(t *testing.T) {
	for seed := range uint64(6) {
		var snaps [][]byte
		var hashes []string
		log := randomLog(t, seed, 250, func(s *Store) {
			snaps = append(snaps, snapshotBytes(t, s))
			hashes = append(hashes, stateHash(t, s.View()))
		})
		for from := 0; from < len(log); from += 31 {
			s := NewStore(nil)
			if err := s.Restore(bytes.NewReader(snaps[from])); err != nil {
				t.Fatal(err)
			}
			for i := from; i < len(log); i++ {
				if _, err := s.Apply([]Entry{{uint64(i + 1), log[i]}}); err != nil {
					t.Fatal(err)
				}
				if got := stateHash(t, s.View()); got != hashes[i] {
					t.Fatalf("seed %d: from the snapshot at %d, entry %d gives %s, want %s", seed, from+1, i+1, got, hashes[i])
				}
			}
		}
	}
	s := storeAt(t, Newest)
	before := stateHash(t, s.View())
	n := *s.t.nodes.first().node
	n.Name += "x"
	s.t.nodes.replace(&nodeRow{node: &n})
	s.publish()
	if stateHash(t, s.View()) == before {
		t.Error("one letter more makes no difference")
	}
}

// Another entry gives another hash of the log, though the state is the same.
func TestLogHash(t *testing.T) {
	hash := func(indexes ...uint64) (h uint64) {
		for _, i := range indexes {
			h = chain(h, i, fmt.Append(nil, "entry", i))
		}
		return h
	}
	seen := map[uint64]bool{hash(1, 2, 3): true, hash(1, 3, 2): true, hash(1, 2): true, hash(1, 2, 3, 4): true, hash(2, 3): true, chain(hash(1, 2), 3, []byte("entri3")): true}
	if len(seen) != 6 {
		t.Errorf("only %d of 6 differ", len(seen))
	}
}

// answers writes what voters found: "oak 1.0 aa" is a node, its version and the
// hash of its state.
func answers(all ...string) (out []api.StateAnswer) {
	for _, s := range all {
		f := strings.Fields(s)
		out = append(out, api.StateAnswer{NodeID: f[0], Version: f[1], State: f[2], Log: "0"})
	}
	return out
}

func TestWhoIsOdd(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []api.StateAnswer
		odd     string
		split   bool
	}{
		{"nobody answers", nil, "", false},
		{"one voter", answers("a 1 x"), "", false},
		{"all alike", answers("a 1 x", "b 1 x", "c 1 x"), "", false},
		{"one of three", answers("a 1 x", "b 1 y", "c 1 x"), "b", false},
		{"two of five", answers("a 1 x", "b 1 y", "c 1 x", "d 1 z", "e 1 x"), "b,d", false},
		{"two that differ", answers("a 1 x", "b 1 y"), "", true},
		{"three that differ", answers("a 1 x", "b 1 y", "c 1 z"), "", true},
		{"two and two", answers("a 1 x", "b 1 y", "c 1 x", "d 1 y"), "", true},
		{"two versions are not compared", answers("a 1 x", "b 2 y", "c 1 x"), "", false},
		{"one odd in each version", answers("a 1 x", "b 1 x", "c 1 y", "d 2 p", "e 2 p", "f 2 q"), "c,f", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &api.StateCheck{Answers: c.answers}
			judge(n)
			if got := strings.Join(n.Odd, ","); got != c.odd || n.Split != c.split {
				t.Errorf("odd %q, split %v", got, n.Split)
			}
		})
	}
	logs := answers("a 1 x", "b 1 x", "c 1 x")
	logs[2].Log = "1"
	if n := (&api.StateCheck{Answers: logs}); judge(n) != 3 || len(n.Odd) != 1 {
		t.Errorf("the same state by another log: %+v", n)
	}
}

// While two voters differ nothing is written, and it is said why and who; it
// continues once one of them is removed.
func TestSplitStopsWrites(t *testing.T) {
	s := storeAt(t, Newest)
	at := Meta{At: testInit().At}
	do := func(c Command) error {
		t.Helper()
		_, err := s.Do(t.Context(), c)
		return err
	}
	job := func() error { return do(&JobCreate{Meta: at, Spec: testSpec(api.KindBatch, "", 1)}) }
	a := nodeID(0)
	joinNode(t, s, "b")
	if err := do(&StateCheck{Meta: at, Answers: answers(a+" 1 aa", "b 1 bb")}); err != nil {
		t.Fatal(err)
	}
	if err := job(); api.ErrorCode(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "b (bb) and n0 (aa)") {
		t.Errorf("a job: %v", err)
	}
	open := func() (out []api.Incident) {
		for n := range s.View().Incidents() {
			if n.Over.IsZero() {
				out = append(out, *n)
			}
		}
		return out
	}
	if in := open(); len(in) != 1 || in[0].Kind != api.IncidentStatesDiffer || !strings.Contains(in[0].Message, "n0 has aa") || !strings.Contains(in[0].Message, "b has bb") {
		t.Errorf("incidents: %+v", in)
	}
	if err := do(&NodeHello{Meta: at, ID: a, Hello: testHello(1000)}); err != nil {
		t.Errorf("a node that says hello: %v", err)
	}
	if err := do(&NodeClaim{Meta: at, ID: a, Session: "s"}); err != nil {
		t.Errorf("a daemon that starts: %v", err)
	}
	if err := do(&NodeRemove{Meta: at, ID: "b"}); err != nil {
		t.Fatal(err)
	}
	if err := do(&StateCheck{Meta: at, Answers: answers(a + " 1 cc")}); err != nil {
		t.Fatal(err)
	}
	if err := job(); err != nil || len(open()) != 0 {
		t.Errorf("after one was removed: %v, incidents %+v", err, open())
	}
	if err := do(&StateCheck{Meta: at, Answers: answers(a+" 1 x", "b 1 x", "c 1 y")}); err != nil || job() != nil || len(open()) != 1 {
		t.Errorf("one that is odd: %v, incidents %+v", err, open())
	}
	if err := do(&StateCheck{Meta: at, Answers: answers(a+" 1 x", "b 1 x", "c 1 x")}); err != nil || len(open()) != 0 {
		t.Errorf("after it was filled anew: %v, incidents %+v", err, open())
	}
	if err := do(&StateCheck{Meta: at, Answers: make([]api.StateAnswer, MaxStateAnswers+1)}); err == nil {
		t.Error("any number of answers is taken")
	}
}

// joinNode adds a node of that id and name.
func joinNode(t *testing.T, s *Store, id string) {
	t.Helper()
	if _, err := s.Propose(t.Context(), &TokenCreate{Token: &api.Token{ID: "t-" + id, Kind: api.TokenJoin, Hash: "h"}},
		&NodeJoin{Token: "t-" + id, Hash: "h", NodeID: id, Name: id}); err != nil {
		t.Fatal(err)
	}
}

// A split is over only when more voters agree than do not, those that are silent
// among them: a check that nobody or only one side answered settles nothing.
func TestSplitIsKept(t *testing.T) {
	a, at := nodeID(0), Meta{At: testInit().At}
	for _, c := range []struct {
		name          string
		split, checks [][]api.StateAnswer // by check
		removed       string
		over          bool
	}{
		{name: "nobody was asked", checks: [][]api.StateAnswer{nil}},
		{name: "one is away", checks: [][]api.StateAnswer{answers(a + " 1 cc")}},
		{name: "one is away, again and again", checks: [][]api.StateAnswer{nil, answers(a + " 1 cc"), nil, answers(a + " 1 dd")}},
		{name: "another version is not compared", checks: [][]api.StateAnswer{answers(a+" 1 cc", "b 2 cc")}},
		{name: "half agrees, half is away", split: [][]api.StateAnswer{answers(a+" 1 x", "b 1 y", "c 1 x", "d 1 y")}, checks: [][]api.StateAnswer{answers(a+" 1 z", "c 1 z")}},
		{name: "one of three is away, then another removed", split: [][]api.StateAnswer{answers(a+" 1 x", "b 1 y", "c 1 z"), answers(a+" 1 x", "b 1 y")},
			removed: "b", checks: [][]api.StateAnswer{answers(a + " 1 x")}},
		{name: "they are alike", checks: [][]api.StateAnswer{answers(a+" 1 cc", "b 1 cc")}, over: true},
		{name: "two of three agree, one is away", checks: [][]api.StateAnswer{nil, answers(a+" 1 cc", "c 1 cc")}, over: true},
		{name: "one was removed", removed: "b", checks: [][]api.StateAnswer{answers(a + " 1 cc")}, over: true},
		{name: "one was removed, and nobody answers", removed: "b", checks: [][]api.StateAnswer{nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := storeAt(t, Newest)
			for _, id := range []string{"b", "c", "d"} {
				joinNode(t, s, id)
			}
			do := func(c Command) {
				t.Helper()
				if _, err := s.Do(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			if c.split == nil {
				c.split = [][]api.StateAnswer{answers(a+" 1 aa", "b 1 bb")}
			}
			for _, all := range c.split {
				do(&StateCheck{Meta: at, Of: 7, Answers: all})
			}
			if c.removed != "" {
				do(&NodeRemove{Meta: at, ID: c.removed})
			}
			for _, all := range c.checks {
				do(&StateCheck{Meta: at, Of: 8, Answers: all})
			}
			_, err := s.Do(t.Context(), &JobCreate{Meta: at, Spec: testSpec(api.KindBatch, "", 1)})
			open := 0
			for n := range s.View().Incidents() {
				if n.Over.IsZero() {
					open++
				}
			}
			if (err == nil) != c.over || (open == 0) != c.over {
				t.Errorf("a job: %v; %d open incidents; %+v", err, open, s.View().StateCheck())
			}
		})
	}
}

// Each check gives the state after its entry away, the newest only.
func TestChecksAreGivenAway(t *testing.T) {
	s := storeAt(t, Newest)
	for range 3 {
		if _, err := s.Do(t.Context(), &StateCheck{}); err != nil {
			t.Fatal(err)
		}
	}
	at := s.View().Index()
	if _, err := s.Do(t.Context(), &JobCreate{Spec: testSpec(api.KindBatch, "", 1)}); err != nil {
		t.Fatal(err)
	}
	v := <-s.Checks()
	if v.Index() != at || v.StateCheck().Index != at || v.Job("1") != nil {
		t.Errorf("the view of entry %d is of %d", at, v.Index())
	}
	select {
	case v := <-s.Checks():
		t.Errorf("another one, of %d", v.Index())
	default:
	}
}

func BenchmarkStateHash(b *testing.B) {
	s := storeOf(b, 100_000)
	v := s.View()
	b.ResetTimer()
	for b.Loop() {
		if _, _, err := v.StateHash(); err != nil {
			b.Fatal(err)
		}
	}
}

// storeOf has that many jobs of one placed task each.
func storeOf(b *testing.B, jobs int) *Store {
	b.Helper()
	s := NewStore(nil)
	if _, err := s.Propose(b.Context(), testInit(), &NodeHello{ID: nodeID(0), Hello: testHello(api.MilliCPU(jobs * 1000))}); err != nil {
		b.Fatal(err)
	}
	for i := range jobs {
		if _, err := s.Propose(b.Context(), &JobCreate{Spec: testSpec(api.KindBatch, "", 1)},
			&TaskPlace{Placements: []Placement{{Job: fmt.Sprint(i + 1), Attempt: 1, NodeID: nodeID(0), Resources: &api.Resources{CPUs: 1}}}}); err != nil {
			b.Fatal(err)
		}
	}
	return s
}
