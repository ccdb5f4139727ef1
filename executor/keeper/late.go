package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mesita/mesita/executor/clock"
)

// A start is sent to a keeper that answered within the last second, and that may
// be stopped by now, or wait for a disk. So it says by when it is to be noted in
// the ledger, and the keeper, which looks at the clock once it was, begins none
// that was noted later. What is not in the ledger after that time is never begun
// of that request: it can be started elsewhere, however long the keeper sleeps.
// What is in it may run, and is waited for.

// featureBy is the field of a request that says so.
const featureBy = "by"

// errLate says that a keeper did not begin a start for its time was over.
var errLate = errors.New("the keeper came to this start too late, and did not begin it")

// lookAfter is how long after its time the ledger is looked at.
const lookAfter = 100 * time.Millisecond

// start asks for a start, anew if the keeper answers that it was late.
func (p *peer) start(ctx context.Context, r StartRequest) (*message, error) {
	for {
		m, err := p.startBy(ctx, r)
		if !errors.Is(err, errLate) || ctx.Err() != nil {
			return m, err
		}
	}
}

// startBy asks once. The error is ErrSilent if the start will not be begun.
func (p *peer) startBy(ctx context.Context, r StartRequest) (*message, error) {
	if l, err := p.current(); l == nil || err != nil || !l.knows.all[featureBy] {
		return p.do(ctx, true, message{Op: opStart, Start: &r})
	}
	r.By = clock.Uptime() + answerTime
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	look := time.AfterFunc(answerTime+lookAfter, func() {
		if clock.Uptime() > r.By && !p.mayBegin(ctx, r.ID) {
			cancel(fmt.Errorf("%w: it did not begin this start within %v, and will not", ErrSilent, answerTime))
		}
	})
	defer look.Stop()
	return p.do(ctx, true, message{Op: opStart, Start: &r})
}

// mayBegin reports whether a start whose time is over may have been begun, or may
// be yet: the ledger has it, or cannot be read. One at a time looks, as a disk
// may hang.
func (p *peer) mayBegin(ctx context.Context, id string) bool {
	p.looking.Lock()
	defer p.looking.Unlock()
	if ctx.Err() != nil {
		return true // it was answered meanwhile
	}
	fi, err := os.Stat(filepath.Join(p.cfg.Dir, ledgerFile))
	if err != nil || !fi.Mode().IsRegular() {
		return true
	}
	all, damaged, err := readLedger(p.cfg.Dir)
	return err != nil || damaged || slices.ContainsFunc(all, func(st Status) bool { return st.ID == id && !isEarly(st) })
}
