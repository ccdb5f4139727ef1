package keeper_test

import (
	"fmt"
	"testing"

	"github.com/mesita/mesita/executor/clock"
)

// An end tells what was used until then, however the task ended.
func TestAnEndTellsWhatWasUsed(t *testing.T) {
	r := newRig(t)
	c := r.client()
	c.start("a.0/1", "/bin/sh", "-c", "i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done; exec sleep 1000")
	before, err := c.Stats(t.Context(), "a.0/1")
	if err != nil {
		t.Fatal(err)
	}
	if before.CPUTime == 0 {
		t.Skip("nothing is counted of the groups of this machine")
	}
	if err := c.Kill(t.Context(), "a.0/1"); err != nil {
		t.Fatal(err)
	}
	if st := c.exit("a.0/1"); st.CPUTime < before.CPUTime || before.MemPeak > before.Mem && st.MemPeak < int64(before.MemPeak) {
		t.Errorf("%s and %d bytes, and %+v before", st.CPUTime, st.MemPeak, before)
	}
	c.start("a.1/1", "/bin/true")
	if st := c.exit("a.1/1"); st.Code != 0 || st.CPUTime <= 0 {
		t.Errorf("of a clean end: %+v", st)
	}
}

// An end says that nothing of the attempt is left, once its slice is gone with all that
// ran there, whatever of it tried to stay.
func TestAnEndTellsThatNothingIsLeft(t *testing.T) {
	r := newRig(t)
	c := r.client()
	for id, command := range map[string]string{
		"a.0/1": "true",
		"a.1/1": "(trap '' HUP TERM INT; exec sleep 1000) & setsid sleep 1000 & exit 0",
		"a.2/1": "kill -KILL $$",
	} {
		c.start(id, "/bin/sh", "-c", command)
		if st := c.exit(id); !st.Gone {
			t.Errorf("%s: %+v", command, st)
		}
	}
}

// What many attempts use is told of each that runs, in their order, and of no other.
func TestWhatManyAttemptsUse(t *testing.T) {
	r := newRig(t)
	c := r.client()
	var ids []string
	for i := range 70 {
		ids = append(ids, fmt.Sprintf("a.%d/1", i))
		c.start(ids[i], "/bin/sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do i=$((i+1)); sleep 1000 & done; wait", 1+i%3))
	}
	ended := func(i int) bool { return i%10 == 7 }
	for i, id := range ids {
		if !ended(i) {
			want := 2 + i%3 // with the shell
			r.until("all processes of "+id, func() bool { st, err := c.Stats(t.Context(), id); return err == nil && st.Processes == want })
			continue
		}
		if err := c.Kill(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		c.exit(id)
	}
	ids = append(ids, "never.0/1")
	since := clock.Uptime()
	for i, st := range c.AllStats(t.Context(), ids, "") {
		if none := ended(i) || i == 70; none != (st == nil) || st != nil && (st.Processes != 2+i%3 || st.Sampled < since || st.Sampled > clock.Uptime()) {
			t.Errorf("%s: %+v", ids[i], st)
		}
	}
	if st, err := c.Stats(t.Context(), ids[0]); err != nil || st.Sampled < since || st.Sampled > clock.Uptime() {
		t.Errorf("of one: %+v, %v", st, err)
	}
	if got := c.AllStats(t.Context(), nil, ""); len(got) != 0 {
		t.Errorf("of none: %v", got)
	}
}
