package keeper

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/mesita/mesita/executor/vouch"
)

// Vouch is what a keeper needs to answer probes to its node; package vouch
// says how.
type Vouch struct {
	Node string         `json:"node"` // its id
	Boot string         `json:"boot"` // the kernel's boot id
	Addr netip.AddrPort `json:"addr"` // that the daemon listens on
	Key  []byte         `json:"key"`  // of the probes
}

// voucher is a responder that runs.
type voucher struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// vouch begins to answer probes, in place of what an earlier daemon asked for.
func (s *server) vouch(v *Vouch) error {
	if v == nil {
		return errors.New("the request to vouch says not for which node")
	}
	session := uint64(time.Now().UnixNano())
	r, err := vouch.Listen(v.Addr, v.Node, v.Key, func(names []uint64) vouch.Answer {
		a := s.answer(names)
		a.Boot, a.Session = v.Boot, session
		return a
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &voucher{cancel: cancel}
	n.done.Go(func() {
		if err := r.Run(ctx); err != nil {
			s.log.Warn("the keeper no longer answers for its tasks", "error", err)
		}
	})
	s.mu.Lock()
	old := s.voucher
	s.voucher = n
	s.mu.Unlock()
	old.stop()
	return nil
}

func (s *server) stopVouching() {
	s.mu.Lock()
	v := s.voucher
	s.voucher = nil
	s.mu.Unlock()
	v.stop()
}

func (v *voucher) stop() {
	if v != nil {
		v.cancel()
		v.done.Wait()
	}
}

// answer tells what is known of all attempts, and of those that are named. One
// that an earlier keeper lost does not run, so it may start elsewhere.
func (s *server) answer(names []uint64) (a vouch.Answer) {
	a.Fates = make([]vouch.Fate, len(names))
	at := make(map[uint64]int, len(names))
	for i, n := range names {
		at[n] = i
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, t := range s.known {
		fate := vouch.Unknown
		switch t.status.State {
		case Starting, Running:
			a.Running++
			fate = vouch.Runs
		case Ended:
			a.Ended++
			fate = vouch.Ended
		}
		if len(names) == 0 {
			continue
		}
		if i, ok := at[vouch.Name(id)]; ok {
			a.Fates[i] = fate
		}
	}
	return a
}

// askToVouch tells the keeper what it has to know. One of an older version
// cannot do it; then a node whose daemon is away is taken for lost, as ever.
func (c *Client) askToVouch(l *link) {
	_, err := c.ask(context.Background(), l, &message{Op: opVouch, Vouch: c.cfg.Vouch}) // ends with the connection
	if err != nil && !errors.Is(err, errGone) {
		c.cfg.Log.Info("the keeper cannot answer for the tasks while this daemon is away", "error", err)
	}
}
