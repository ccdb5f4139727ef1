package fsm

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/mesita/mesita/api"
)

// A change of the CA's key goes one step at a time, from where it is: a step that
// two leaders propose is taken once. The old key signs nothing from the second
// on, and what leads from it to the new one is kept, of so many changes.
func TestCAKeyChangesInSteps(t *testing.T) {
	s := storeAt(t, Newest)
	first := bytes.Clone(s.View().Authority().CACert)
	begin := func(step uint64, n int) *CARotate {
		return &CARotate{Step: step, Cert: fmt.Appendf(nil, "cert %d", n), Key: fmt.Appendf(nil, "key %d", n), Pin: fmt.Sprint("pin ", n), Cross: fmt.Appendf(nil, "cross %d", n)}
	}
	do := func(c *CARotate, want api.Code) {
		t.Helper()
		if _, err := s.Do(t.Context(), c); api.ErrorCode(err) != want {
			t.Errorf("from step %d: %v, want %q", c.Step, err, want)
		}
	}
	is := func(step uint64, key, pin string, certs ...string) {
		t.Helper()
		a := s.View().Authority()
		if r := a.CAs(); r.Step != step || string(bytes.Join(r.Cert, []byte(","))) != string(bytes.Join(func() (b [][]byte) {
			for _, c := range certs {
				b = append(b, []byte(c))
			}
			return b
		}(), []byte(","))) || string(a.CAKey) != key || a.Pin != pin || (a.CANextKey != nil) != (step%CASteps == 1) {
			t.Errorf("step %d: %+v", step, a)
		}
	}
	is(0, "key", s.View().Authority().Pin, string(first))
	for _, bad := range []*CARotate{{}, {Cert: []byte("c"), Key: []byte("k"), Pin: "p"}, {Cert: first, Key: []byte("k"), Pin: "p", Cross: []byte("x")}} {
		do(bad, api.CodeInvalid)
	}
	do(begin(1, 1), api.CodeConflict)
	do(begin(0, 1), "")
	do(begin(0, 2), api.CodeConflict)
	is(1, "key", s.View().Authority().Pin, string(first), "cert 1")
	do(&CARotate{Step: 1}, "")
	do(&CARotate{Step: 1}, api.CodeConflict)
	is(2, "key 1", "pin 1", "cert 1", string(first))
	do(&CARotate{Step: 2}, "")
	is(3, "key 1", "pin 1", "cert 1")
	for n := 2; n < api.MaxPastCAs+5; n++ {
		step := s.View().Authority().CAStep
		do(begin(step, n), "")
		do(&CARotate{Step: step + 1}, "")
		do(&CARotate{Step: step + 2}, "")
	}
	back := NewStore(nil)
	if err := back.Restore(bytes.NewReader(snapshotBytes(t, s))); err != nil {
		t.Fatal(err)
	}
	past := back.View().Authority().CAs().Past
	if len(past) != api.MaxPastCAs || string(past[len(past)-1].Cross) != fmt.Sprint("cross ", api.MaxPastCAs+4) {
		t.Errorf("%d keys of before are known", len(past))
	}
	for level := range Level(4) {
		if _, err := storeAt(t, level).Do(t.Context(), begin(0, 1)); api.ErrorCode(err) != api.CodeConflict {
			t.Errorf("at level %d: %v", level, err)
		}
	}
}
