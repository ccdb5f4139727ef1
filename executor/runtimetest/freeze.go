package runtimetest

import (
	"context"
	"slices"
	"time"

	"github.com/mesita/mesita/executor/keeper"
)

// Freeze stops the attempt in place: what its plan has it do waits, and so
// does a signal. A plan whose Freeze is an error other than ErrUnfreezable
// leaves the attempt half stopped.
func (f *Fake) Freeze(ctx context.Context, id string) (keeper.Status, error) {
	f.wait(ctx, Asks)
	f.mu.Lock()
	defer f.mu.Unlock()
	p, err := f.running(id)
	if err != nil {
		return keeper.Status{}, err
	}
	f.signals = append(f.signals, id+" freeze")
	if p.plan.Freeze == keeper.ErrUnfreezable { //nolint:errorlint // the test's own
		return keeper.Status{}, p.plan.Freeze
	}
	if !p.status.Freezer && p.timer != nil {
		p.timer.Stop()
		p.left = max(time.Until(p.due), 0)
	}
	p.status.Freezer = true
	if p.plan.Freeze != nil {
		return keeper.Status{}, p.plan.Freeze
	}
	if p.plan.Freezing > 0 {
		f.mu.Unlock()
		select {
		case <-time.After(p.plan.Freezing):
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			return keeper.Status{}, context.Cause(ctx)
		}
	}
	if p.status.Freezer && p.status.Frozen.IsZero() {
		p.status.Frozen = time.Now()
	}
	return p.status, nil
}

// Thaw lets the attempt continue.
func (f *Fake) Thaw(ctx context.Context, id string) (keeper.Status, error) {
	f.wait(ctx, Asks)
	f.mu.Lock()
	defer f.mu.Unlock()
	p, err := f.running(id)
	if err != nil {
		return keeper.Status{}, err
	}
	f.signals = append(f.signals, id+" thaw")
	if p.plan.Thaw != nil {
		return keeper.Status{}, p.plan.Thaw
	}
	if !p.status.Freezer {
		return p.status, nil
	}
	if !p.status.Frozen.IsZero() {
		p.status.FrozenFor += time.Since(p.status.Frozen)
	}
	p.status.Freezer, p.status.Frozen = false, time.Time{}
	if p.timer != nil {
		p.timer.Reset(p.left)
		p.due = time.Now().Add(p.left)
	}
	if p.held != 0 {
		f.end(p, 0, p.held, 0)
	}
	return p.status, nil
}

// Frozen lists the attempts that are stopped in place, sorted.
func (f *Fake) Frozen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []string{}
	for id, p := range f.procs {
		if p.status.State == keeper.Running && !p.status.Frozen.IsZero() {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}
