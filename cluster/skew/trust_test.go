package skew

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/controller"
	"github.com/mesita/mesita/fsm"
)

const days = 24 * time.Hour

// A leader trusts its clock once most voters have the same time, and gives the
// lead only to one of most voters that agree without it.
func TestWhoseClockIsTrusted(t *testing.T) {
	off := func(d ...time.Duration) map[string]time.Duration {
		m := map[string]time.Duration{}
		for i, d := range d {
			if d != silent {
				m["id"+string(rune('0'+i))] = d
			}
		}
		return m
	}
	for name, c := range map[string]struct {
		voters  int
		ahead   map[string]time.Duration
		jumped  time.Duration // of this node's clock, not followed yet
		trusted bool
		to      string
	}{
		"alone":                          {voters: 1, ahead: off(0), trusted: true},
		"alone, of other nodes":          {voters: 1, ahead: off(0, time.Hour, time.Hour), trusted: true},
		"all the same":                   {voters: 3, ahead: off(0, time.Second, -time.Second), trusted: true},
		"one silent":                     {voters: 3, ahead: off(0, time.Second, silent), trusted: true},
		"one off":                        {voters: 3, ahead: off(0, time.Second, 200*days), trusted: true},
		"nobody answers":                 {voters: 3, ahead: off(0, silent, silent)},
		"ahead":                          {voters: 3, ahead: off(0, -200*days, -200*days), to: "id1"},
		"behind, and the first, too":     {voters: 5, ahead: off(0, time.Hour, 10*days, 10*days, 10*days), to: "id2"},
		"most are silent":                {voters: 3, ahead: off(0, -200*days, silent)},
		"two voters that differ":         {voters: 2, ahead: off(0, -200*days)},
		"two and two":                    {voters: 4, ahead: off(0, 0, -200*days, -200*days)},
		"no two are the same":            {voters: 3, ahead: off(0, -time.Hour, -200*days)},
		"a little off":                   {voters: 3, ahead: off(0, 20*time.Second, 20*time.Second)},
		"workers are not asked":          {voters: 3, ahead: off(0, silent, silent, 0, 0, 0)},
		"jumped, and not followed":       {voters: 3, ahead: off(0, -200*days, -200*days), jumped: 200 * days, trusted: true},
		"all jumped, and not followed":   {voters: 3, ahead: off(0, 0, 0), jumped: time.Hour},
		"two agree with each other only": {voters: 3, ahead: off(0, time.Second, silent), jumped: 200 * days},
	} {
		at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		s := &Loop{Config{Self: "id0", Wall: func() time.Time { return at.Add(c.jumped) }, Now: func() time.Time { return at },
			Voters: func() []string { return []string{"id0", "id1", "id2", "id3", "id4"}[:c.voters] }}}
		if trusted, to := s.verdict(c.ahead); trusted != c.trusted || to != c.to {
			t.Errorf("%s: trusted %v and handed to %q, want %v and %q", name, trusted, to, c.trusted, c.to)
		}
	}
}

// What is old by the clock of a leader that is 200 days ahead stays, incidents
// included, and the lead goes to another; with the clock set right what is old
// goes.
func TestALeaderThatIsAheadRemovesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := newClocks(t, 3)
		c.off["id0"] = 200 * days
		begin := time.Now()
		at := func() time.Time { return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).Add(time.Since(begin)) }
		var mu sync.Mutex // of c.off and c.to
		clock := func(id string) time.Time {
			mu.Lock()
			defer mu.Unlock()
			return at().Add(c.off[id])
		}
		c.Read = func(_ context.Context, id string) (time.Time, error) { return clock(id), nil }
		c.Wall = func() time.Time { return clock("id0") }
		c.HandOver = func(_ context.Context, id string) error {
			mu.Lock()
			defer mu.Unlock()
			c.to = append(c.to, id)
			return nil
		}
		c.Now, c.Trust.now = c.Wall, c.Wall
		ended := &api.JobSpec{Name: "old", Kind: api.KindBatch}
		ended.Command = []string{"x"}
		ended.Normalize()
		meta := fsm.Meta{At: at()}
		res, err := c.Store.Propose(ctx, &fsm.NodeClock{Meta: meta, ID: "id1", Off: api.Duration(time.Hour)}, &fsm.JobCreate{Meta: meta, Spec: ended}, &fsm.JobStop{Meta: meta, ID: "old"})
		if err != nil || slices.ContainsFunc(res, func(r fsm.Result) bool { return r.Err != nil }) {
			t.Fatal(res, err)
		}
		loop := controller.New(controller.Config{Store: c.Store, Now: c.Now, Log: c.Loop.Log, Forgets: c.Trust.Holds})
		go loop.Run(ctx)
		go c.Loop.Run(ctx)
		defer synctest.Wait()
		defer cancel()

		time.Sleep(time.Minute) // fake
		if c.Store.View().Job("old") == nil {
			t.Error("an ended job was removed for its age by a clock that is ahead")
		}
		mu.Lock()
		if len(c.to) == 0 || c.to[0] != "id1" {
			t.Errorf("the lead was handed to %v, want id1", c.to)
		}
		clear(c.off)
		mu.Unlock()
		var open []string
		for i := range c.Store.View().Incidents() {
			open = append(open, i.Object)
		}
		if !slices.Contains(open, "id1") && !slices.Contains(open, "n1") {
			t.Errorf("an incident was forgotten by a clock that is ahead: there are %q", open)
		}
		time.Sleep(skewEvery) // fake
		if c.Store.View().Job("old") == nil {
			t.Error("a job was removed that is not old")
		}
		time.Sleep(controller.DefaultKeepEnded + time.Hour) // fake
		if c.Store.View().Job("old") != nil {
			t.Error("with the clock set right an old job is kept for ever")
		}
	})
}

// What was found of a clock is worth nothing once it has jumped.
func TestAJumpEndsTheTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var jump time.Duration
		c := &Trust{now: func() time.Time { return time.Now().Add(jump) }}
		if c.Holds() {
			t.Error("trusted before it was compared")
		}
		c.set(true)
		time.Sleep(time.Hour) // fake
		if !c.Holds() {
			t.Error("time that went by is taken for a jump")
		}
		if jump = time.Hour; c.Holds() {
			t.Error("still trusted after a jump")
		}
	})
}
