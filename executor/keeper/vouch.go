package keeper

import (
	"context"
	"crypto/rand"
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
	r, err := vouch.Listen(v.Addr, v.Node, v.Key, func(names []uint64) (vouch.Answer, bool) {
		a, ok := s.answer(names)
		a.Boot, a.Session = v.Boot, session
		return a, ok
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

// answer tells what is known of all attempts, and of those that are named, here
// and by the keepers beside this one; false if that is not known. One that an
// earlier keeper lost does not run, so it may start elsewhere.
func (s *server) answer(names []uint64) (a vouch.Answer, ok bool) {
	held, dead, err := beside(s.cfg.Dir)
	if err != nil || dead {
		return a, false
	}
	s.mu.Lock()
	defer s.mu.Unlock() // none starts before it is noted that it did not
	for _, t := range s.known {
		held = append(held, t.status)
	}
	a.Fates = make([]vouch.Fate, len(names))
	at := make(map[uint64]int, len(names))
	for i, n := range names {
		at[n] = i
	}
	for _, st := range held {
		fate := vouch.Unknown
		switch st.State {
		case Starting, Running:
			a.Running++
			fate = vouch.Runs
		case Ended:
			a.Ended++
			fate = vouch.Ended
		}
		if len(names) == 0 || fate == vouch.Unknown {
			continue
		}
		if i, ok := at[vouch.Name(st.ID)]; ok {
			a.Fates[i] = fate
		}
	}
	for i, n := range names {
		if a.Fates[i] == vouch.Unknown {
			s.denied.add(n)
		}
	}
	return a, true
}

// errDenied is an ErrLost: whether the attempt ran, here or elsewhere, is not known
// here.
var errDenied error = &remoteError{"the cluster asked for this attempt while the daemon did not answer, was told that it is not here, and may have started it elsewhere", ErrLost}

// mostDenied bounds how many attempts are remembered as denied: those of the
// last few minutes that a daemon may hang, on a node of the largest kind.
const mostDenied = 1 << 14

// denied are attempts that a keeper was asked for by name and did not have. That
// is asked only while the daemon does not answer, and by whom would start them
// elsewhere: a daemon that hung, and wakes, must not start them here. What the
// cluster did not give up gets another attempt.
type denied struct {
	names map[uint64]bool
	order []uint64 // the oldest first
}

func (d *denied) add(name uint64) {
	if d.names[name] {
		return
	}
	if d.names == nil {
		d.names = map[uint64]bool{}
	}
	if len(d.order) >= mostDenied {
		delete(d.names, d.order[0])
		d.order = d.order[1:]
	}
	d.names[name] = true
	d.order = append(d.order, name)
}

func (d *denied) holds(id string) bool { return len(d.names) > 0 && d.names[vouch.Name(id)] }

// vouchForNobody is for a keeper that must not answer: its probes would be
// sealed with a key that nobody has.
func vouchForNobody() *Vouch {
	v := &Vouch{Addr: netip.MustParseAddrPort("127.0.0.1:9"), Key: make([]byte, 32)}
	_, _ = rand.Read(v.Key) // never fails
	return v
}
