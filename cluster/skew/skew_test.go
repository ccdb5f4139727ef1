package skew

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// clocks is a cluster whose nodes have clocks that are off by so much, node 0
// the leader.
type clocks struct {
	*testing.T
	*Loop
	off map[string]time.Duration
	to  []string // whom the lead was handed to
}

func newClocks(t *testing.T, nodes int) *clocks {
	c := &clocks{T: t, off: map[string]time.Duration{}}
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	meta := fsm.Meta{At: at}
	store := fsm.NewStore(nil)
	do := func(cmd fsm.Command) {
		if _, err := store.Do(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	do(&fsm.ClusterInit{Meta: meta, Level: fsm.Newest, Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "id0", Name: "n0"}})
	do(&fsm.TokenCreate{Meta: meta, Token: &api.Token{ID: "t", Kind: api.TokenJoin, Hash: "h"}})
	for i := range nodes {
		id := fmt.Sprint("id", i)
		if i > 0 {
			do(&fsm.NodeJoin{Meta: meta, Token: "t", Hash: "h", NodeID: id, Name: fmt.Sprint("n", i)})
		}
		do(&fsm.NodeHello{Meta: meta, ID: id, Hello: api.NodeHello{Addr: "x:1"}})
	}
	now := func() time.Time { return at }
	c.Loop = &Loop{Config{Self: "id0", Store: store, Now: now, Log: slog.New(slog.DiscardHandler),
		Wall: func() time.Time { return at.Add(c.off["id0"]) },
		Read: func(_ context.Context, id string) (time.Time, error) {
			if c.off[id] == silent {
				return time.Time{}, errors.New("no answer")
			}
			return at.Add(c.off[id]), nil
		},
		Voters:   func() []string { return []string{"id0", "id1", "id2"} },
		HandOver: func(_ context.Context, id string) error { c.to = append(c.to, id); return nil },
		Trust:    NewTrust(now)}}
	return c
}

const silent = time.Duration(1)

// told measures, and returns by how much which nodes are said to be off.
func (c *clocks) told() string {
	c.Helper()
	v := c.Store.View()
	c.tell(c.Context(), v, c.measure(c.Context(), v, nil))
	out := ""
	for n := range c.Store.View().Nodes() {
		if n.ClockOff != 0 {
			out += n.ID + " " + time.Duration(n.ClockOff).String() + " "
		}
	}
	open := 0
	for i := range c.Store.View().Incidents() {
		if i.Kind == api.IncidentClockOff && i.Over.IsZero() {
			open++
		}
	}
	return out + fmt.Sprint(open)
}

// The clock that is off is told by what most say, be it the leader's own; one
// that is set right, or whose node is silent, is none.
func TestClocksThatAreOff(t *testing.T) {
	c := newClocks(t, 3)
	for _, step := range []struct {
		off  map[string]time.Duration
		want string
	}{
		{nil, "0"},
		{map[string]time.Duration{"id1": 4 * time.Second}, "0"},
		{map[string]time.Duration{"id1": time.Hour}, "id1 1h0m0s 1"},
		{map[string]time.Duration{"id1": time.Hour + 20*time.Second}, "id1 1h0m0s 1"},
		{map[string]time.Duration{"id1": silent}, "id1 1h0m0s 1"},
		{map[string]time.Duration{"id1": 2 * time.Second}, "0"},
		{map[string]time.Duration{"id0": -200 * 24 * time.Hour}, "id0 -4800h0m0s 1"},
		{map[string]time.Duration{"id0": time.Hour, "id1": time.Hour, "id2": time.Hour}, "0"},
	} {
		c.off = step.off
		if got := c.told(); got != step.want {
			t.Errorf("%v: told %q, want %q", step.off, got, step.want)
		}
	}
}

// What did not change is not written again.
func TestClocksCostNothing(t *testing.T) {
	c := newClocks(t, 3)
	c.off["id2"] = time.Minute
	c.told()
	before := c.Store.View().Index()
	c.told()
	if c.Store.View().Index() != before {
		t.Error("the same was written again")
	}
}
