package vouch

import (
	"context"
	"crypto/cipher"
	"sync"
	"time"
)

// Asker asks the keepers of other nodes. Its methods may be called from
// several goroutines.
type Asker struct {
	aead cipher.AEAD
	send func(b []byte, addr string) error

	mu      sync.Mutex
	waiting map[nonce]question // one for each Ask under way
}

type question struct {
	named  int
	answer chan Answer
}

// NewAsker makes one that sends by send; what comes back is given to Handle.
func NewAsker(key []byte, send func(b []byte, addr string) error) (*Asker, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	return &Asker{aead: aead, send: send, waiting: map[nonce]question{}}, nil
}

// again is when a probe is repeated: a packet may be lost.
const again = 100 * time.Millisecond

// Ask asks the keeper of the node at addr, until it answers or ctx ends.
func (a *Asker) Ask(ctx context.Context, addr string, p Probe) (Answer, error) {
	b, n, err := sealProbe(a.aead, p)
	if err != nil {
		return Answer{}, err
	}
	q := question{named: len(p.Attempts), answer: make(chan Answer, 1)}
	a.mu.Lock()
	a.waiting[n] = q
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.waiting, n)
		a.mu.Unlock()
	}()
	t := time.NewTicker(again)
	defer t.Stop()
	for {
		if err := a.send(b, addr); err != nil && ctx.Err() == nil {
			return Answer{}, err
		}
		select {
		case r := <-q.answer:
			return r, nil
		case <-ctx.Done():
			return Answer{}, context.Cause(ctx)
		case <-t.C:
		}
	}
}

// Handle takes in a packet that begins with Prefix. It does not block.
func (a *Asker) Handle(b []byte) {
	n, ok := probeOf(b)
	if !ok {
		return
	}
	a.mu.Lock()
	q, ok := a.waiting[n]
	a.mu.Unlock()
	if !ok {
		return
	}
	r, err := openAnswer(a.aead, q.named, b)
	if err != nil {
		return
	}
	select {
	case q.answer <- r:
	default: // the answer to a repeated probe
	}
}
