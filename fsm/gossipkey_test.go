package fsm

import (
	"bytes"
	"testing"

	"github.com/mesita/mesita/api"
)

// A change of gossip's key goes one step at a time, from where it is: a step that
// two leaders propose is taken once. Keepers keep what they were told at first.
func TestGossipKeyChangesInSteps(t *testing.T) {
	s := storeAt(t, Newest)
	first := bytes.Clone(s.View().Authority().GossipKey)
	key := func(i byte) []byte { return bytes.Repeat([]byte{i}, 32) }
	step := func(step uint64, k []byte, want api.Code) {
		t.Helper()
		if _, err := s.Do(t.Context(), &GossipKey{Step: step, Key: k, Gone: step}); api.ErrorCode(err) != want {
			t.Errorf("from step %d: %v, want %q", step, err, want)
		}
	}
	is := func(at uint64, send []byte, also ...[]byte) {
		t.Helper()
		r := s.View().Authority().Ring()
		same := len(r.Also) == len(also)
		for i := range also {
			same = same && bytes.Equal(r.Also[i], also[i])
		}
		if r.Step != at || !bytes.Equal(r.Send, send) || !same || at > 0 && !bytes.Equal(r.Keeper, first) {
			t.Errorf("the keys are %+v, want step %d, %x and %x", r, at, send, also)
		}
	}
	is(0, first)
	step(1, key(1), api.CodeConflict)
	step(0, nil, api.CodeInvalid)
	step(0, first, api.CodeInvalid)
	step(0, key(1), "")
	step(0, key(2), api.CodeConflict)
	is(1, first, key(1))
	step(1, nil, "")
	step(1, nil, api.CodeConflict)
	is(2, key(1), first)
	step(2, nil, "")
	is(3, key(1))
	step(3, key(1), api.CodeInvalid)
	step(3, key(2), "")
	is(4, key(1), key(2))
	for _, level := range []Level{0, 2} {
		if _, err := storeAt(t, level).Do(t.Context(), &GossipKey{Key: key(1)}); api.ErrorCode(err) != api.CodeConflict {
			t.Errorf("at level %d: %v", level, err)
		}
	}
	back := NewStore(nil)
	if err := back.Restore(bytes.NewReader(snapshotBytes(t, s))); err != nil {
		t.Fatal(err)
	}
	s = back
	is(4, key(1), key(2))
}
