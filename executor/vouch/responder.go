package vouch

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Responder answers probes that come to the node's port, whether the daemon
// reads that port or not. It listens beside the daemon, on a raw socket with a
// filter that lets nothing but probes to the port through: it holds no port, so
// that any version of the daemon can bind it at any time, and one that hangs
// takes nothing away from anybody.
type Responder struct {
	node string
	aead cipher.AEAD
	tell func(names []uint64) (Answer, bool)
	raws []*rawSocket
}

// rate is how many packets a second are looked at, at most: it bounds what a
// flood of forged ones costs.
const (
	rate  = 2000
	burst = 500
)

// Listen opens a responder for the node's port at addr, as the daemon listens
// on it. It needs CAP_NET_RAW. tell is called once at a time for each family of
// addresses; if it is false there is no answer.
func Listen(addr netip.AddrPort, node string, key []byte, tell func(names []uint64) (Answer, bool)) (*Responder, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	r := &Responder{node: node, aead: aead, tell: tell}
	var addrs []netip.AddrPort
	if ip := addr.Addr().Unmap(); ip == netip.IPv6Unspecified() { // of both families
		addrs = append(addrs, netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port()))
		addrs = append(addrs, addr)
	} else {
		addrs = append(addrs, netip.AddrPortFrom(ip, addr.Port()))
	}
	var errs []error
	for _, at := range addrs {
		s, err := openRaw(at)
		if err != nil {
			errs = append(errs, fmt.Errorf("listen beside the daemon at %s: %w", at, err))
			continue
		}
		r.raws = append(r.raws, s)
	}
	if len(r.raws) == 0 {
		return nil, errors.Join(errs...)
	}
	return r, nil // a machine may be without IPv6
}

// Run answers until ctx ends, and closes the sockets.
func (r *Responder) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		for _, s := range r.raws {
			s.Close()
		}
	})
	defer stop()
	errs := make([]error, len(r.raws))
	var wg sync.WaitGroup
	for i, s := range r.raws {
		wg.Go(func() {
			defer cancel()
			if err := r.serve(ctx, s); ctx.Err() == nil {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (r *Responder) serve(ctx context.Context, s *rawSocket) error {
	b := make([]byte, 2048)
	tokens, last := float64(burst), time.Now()
	for {
		p, from, err := s.receive(b)
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		now := time.Now()
		tokens, last = min(burst, tokens+rate*now.Sub(last).Seconds()), now
		if tokens--; tokens < 0 { // meanwhile the socket's small queue drops what comes
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(burst * time.Second / rate):
			}
		}
		if err != nil || p == nil {
			continue
		}
		names, n, err := openProbe(r.aead, r.node, p)
		if err != nil {
			continue
		}
		if a, ok := r.tell(names); ok {
			_ = s.reply(sealAnswer(r.aead, a, n), from) // whoever asks asks again
		}
	}
}
