package fsm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// storeAt is a store with a cluster at that level.
func storeAt(t *testing.T, level Level) *Store {
	t.Helper()
	s := NewStore(nil)
	init := testInit()
	init.Level = level
	if _, err := s.Do(context.Background(), init); err != nil {
		t.Fatal(err)
	}
	return s
}

// The logs that programs without levels wrote are read as they are, and a
// command that uses nothing new is written as those programs write it: they
// vote beside this one.
func TestGoldenLevel0(t *testing.T) {
	files, err := filepath.Glob("testdata/level0/*.bin")
	if err != nil || len(files) != 27 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		want, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		cmds, err := Decode(want)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		if got, err := Encode(cmds...); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not written again as it was: %v", f, err)
		}
	}
}

func TestLevelRisesOnce(t *testing.T) {
	s := storeAt(t, 0)
	if l, err := s.Do(t.Context(), &LevelSet{Level: 1}); err != nil || l != Level(1) || s.View().Level() != 1 {
		t.Fatalf("raised to %v: %v", l, err)
	}
	for _, again := range []Level{0, 1} {
		if _, err := s.Do(t.Context(), &LevelSet{Level: again}); api.ErrorCode(err) != api.CodeConflict {
			t.Errorf("set to %d again: %v", again, err)
		}
	}
	back := NewStore(nil)
	if err := back.Restore(bytes.NewReader(snapshotBytes(t, s))); err != nil || back.View().Level() != 1 {
		t.Errorf("a snapshot gives level %d: %v", back.View().Level(), err)
	}
}

// What the level lacks is refused before it is in the log, and changes nothing.
func TestAboveTheLevel(t *testing.T) {
	hello := &NodeHello{ID: nodeID(0), Hello: testHello(1000)}
	hello.Hello.Level = 1
	s := storeAt(t, 0)
	before := s.View().Index()
	if _, err := s.Do(t.Context(), hello); api.ErrorCode(err) != api.CodeConflict || !strings.Contains(err.Error(), "NodeHello.hello.level needs level 1") {
		t.Errorf("at level 0: %v", err)
	}
	if r := s.View().Trial(hello); api.ErrorCode(r.Err) != api.CodeConflict {
		t.Errorf("a trial at level 0: %v", r.Err)
	}
	if s.View().Index() != before {
		t.Error("it is in the log")
	}
	s = storeAt(t, 1)
	if _, err := s.Do(t.Context(), hello); err != nil {
		t.Errorf("at level 1: %v", err)
	}
	n := s.View().Node(nodeID(0))
	if !s.View().NodeDoes(Levels, n) || s.View().NodeDoes(Levels, &api.Node{}) {
		t.Error("what a node does does not follow from what it said")
	}
}

// A level of a newer program halts this one, wherever it is met.
func TestLevelOfANewerProgram(t *testing.T) {
	init := testInit()
	init.Level = Newest + 1
	for _, c := range []Command{init, &LevelSet{Level: Newest + 1}} {
		entry, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(entry); err == nil || !strings.Contains(err.Error(), "upgrade mesita on this node") {
			t.Errorf("%T: %v", c, err)
		}
	}
	s := storeAt(t, Newest)
	s.t.level++
	if err := NewStore(nil).Restore(bytes.NewReader(snapshotBytes(t, s))); err == nil || !strings.Contains(err.Error(), "upgrade mesita on this node") {
		t.Errorf("snapshot: %v", err)
	}
}

// Each kind and each field names a level that this program knows, and each
// field is one that its command has.
func TestLevelsAreKnown(t *testing.T) {
	var err error
	for n, k := range kinds {
		err = errors.Join(err, k.level.known())
		if k.make != nil && kindOf(k.make()) != n {
			t.Errorf("the number of %T is %d", k.make(), kindOf(k.make()))
		}
	}
	for _, f := range features {
		err = errors.Join(err, f.level.known())
	}
	for _, f := range fields {
		err = errors.Join(err, f.level.known())
		c := kinds[f.kind].make()
		if f.used(c) {
			t.Errorf("%T.%s is used by an empty one", c, f.name)
		}
		fill(reflect.ValueOf(c).Elem(), new(int))
		if !f.used(c) {
			t.Errorf("%T.%s is not used by one with all fields set", c, f.name)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// Each field of a hello is in the one list of what a node says.
func TestAllThatANodeSays(t *testing.T) {
	h := reflect.TypeFor[api.NodeHello]()
	for i := range h.NumField() {
		var hello api.NodeHello
		fill(reflect.ValueOf(&hello).Elem().Field(i), new(int))
		taken := 0
		for _, f := range said {
			if f.take(new(api.Node), &hello) {
				taken++
			}
		}
		if taken != 1 {
			t.Errorf("%s is taken by %d of the list", h.Field(i).Name, taken)
		}
	}
}
