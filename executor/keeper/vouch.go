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
	if _, _, err := s.beside.look(s.cfg.Dir); err != nil { // now the disk may answer
		s.log.Warn("the keeper cannot answer for the tasks while it cannot read what the keepers beside it hold", "error", err)
	}
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
// earlier keeper lost does not run, so it may start elsewhere. What nobody has, no
// keeper of the node begins any more.
func (s *server) answer(names []uint64) (a vouch.Answer, ok bool) {
	held, dead, err := s.beside.look(s.cfg.Dir)
	if err != nil || dead {
		return a, false
	}
	a = s.fates.answer(names, held)
	return a, s.bind(names, &a)
}

// vouchForNobody is for a keeper that must not answer: its probes would be
// sealed with a key that nobody has.
func vouchForNobody() *Vouch {
	v := &Vouch{Addr: netip.MustParseAddrPort("127.0.0.1:9"), Key: make([]byte, 32)}
	_, _ = rand.Read(v.Key) // never fails
	return v
}
