package cluster

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/fsm"
)

const (
	skewEvery = 5 * time.Minute // the clocks of all nodes are compared
	skewFirst = 5 * time.Second // and until most voters have the leader's time, ever less often
	skewTold  = 5 * time.Second // what is worth telling
	skewOver  = 3 * time.Second // what is not any more
)

// skew compares the clocks of all nodes while this node leads, and has it told
// which are off. Nothing that matters goes by a node's clock alone; but logs
// and certificates do. The voters are asked as it comes to lead: see clockTrust.
type skew struct {
	self  string
	store *fsm.Store
	// read is a node's time of day, and now this node's.
	read func(ctx context.Context, id string) (time.Time, error)
	wall func() time.Time
	now  func() time.Time // of commands
	log  *slog.Logger

	voters   func() []string
	handOver func(ctx context.Context, id string) error
	trust    *clockTrust
}

func (s *skew) Run(ctx context.Context) error {
	s.judge(ctx, s.measure(ctx, s.store.View(), s.voters()))
	again := 2 * skewFirst
	for wait := skewFirst; backoff.Pause(ctx, wait); {
		v := s.store.View()
		ahead := s.measure(ctx, v, nil)
		if v.Does(fsm.NodeClocks) {
			s.tell(ctx, v, ahead)
		}
		if wait = skewEvery; !s.judge(ctx, ahead) {
			wait, again = again, min(2*again, skewEvery)
		}
	}
	return nil
}

// measure is by how much each node's clock is ahead of this one's, of those
// asked (nil: all) that answer.
func (s *skew) measure(ctx context.Context, v *fsm.View, ask []string) map[string]time.Duration {
	ahead := map[string]time.Duration{s.self: 0}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(8)
	for n := range v.Nodes() {
		if n.ID == s.self || ask != nil && !slices.Contains(ask, n.ID) || n.State != api.NodeReady && n.State != api.NodeDraining {
			continue
		}
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			before := s.wall()
			at, err := s.read(ctx, n.ID)
			if err != nil {
				return nil //nolint:nilerr // it is asked again, and silence is liveness's affair
			}
			middle := before.Add(s.wall().Sub(before) / 2)
			mu.Lock()
			defer mu.Unlock()
			ahead[n.ID] = at.Sub(middle)
			return nil
		})
	}
	_ = group.Wait() // none fails
	return ahead
}

// usual is what most clocks say: the median, and of two in the middle the one
// that is nearer to this node's.
func usual(ahead map[string]time.Duration) time.Duration {
	var all []time.Duration
	for _, d := range ahead {
		all = append(all, d)
	}
	slices.Sort(all)
	a, b := all[(len(all)-1)/2], all[len(all)/2]
	if a.Abs() <= b.Abs() {
		return a
	}
	return b
}

// tell records what changed enough, at the time that most have: what is told at
// a wrong one would have older incidents forgotten.
func (s *skew) tell(ctx context.Context, v *fsm.View, ahead map[string]time.Duration) {
	most, at := usual(ahead), s.now()
	if !s.trust.holds() {
		at = s.wall().Add(most)
	}
	for id, d := range ahead {
		n := v.Node(id)
		if n == nil {
			continue
		}
		off, was := (d - most).Round(time.Second), time.Duration(n.ClockOff)
		if off.Abs() < skewOver || was == 0 && off.Abs() < skewTold {
			off = 0
		}
		if off == was || off != 0 && was != 0 && (off-was).Abs() < max(skewTold, was.Abs()/10) {
			continue
		}
		_, err := s.store.Do(ctx, &fsm.NodeClock{Meta: fsm.Meta{At: at, Actor: "skew"}, ID: id, Off: api.Duration(off)})
		if err != nil && ctx.Err() == nil {
			s.log.Warn("recording that a node's clock is off failed", "node", n.Name, "err", err)
		}
	}
}

// clockOf is a node's time of day, to half a second.
func (a *Agent) clockOf(ctx context.Context, id string) (time.Time, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+id+"/v1/health", nil)
	if err != nil {
		return time.Time{}, err
	}
	res, err := a.peers.transport(id).RoundTrip(req)
	if err != nil {
		return time.Time{}, err
	}
	defer res.Body.Close()
	at, err := http.ParseTime(res.Header.Get("Date"))
	return at.Add(500 * time.Millisecond), err // it has whole seconds
}
