package executor

import (
	"context"
	"fmt"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/usage"
)

// space is what the loop knows of who fills the disk.
type space struct {
	grown     usage.Grown
	measuring bool
	ending    *attempt // whoever filled it, until what it had is gone
	since     time.Time
	tidied    bool // what ended attempts left was removed before its time
}

const (
	lookPatience = 30 * time.Second // what is measured may hang
	endPatience  = time.Minute      // an end may never come
)

// guardSpace has the attempt end that fills the disk, once less is free than is kept for
// the node itself: without that neither its journal nor the state of a voter is
// written, and one task is the end of all work. What ended attempts left goes first.
func (e *Executor) guardSpace() {
	l := &e.loop.space
	s, ok := e.disk.space()
	if !ok || l.measuring {
		return
	}
	if l.tidied = l.tidied && s.Short(); s.Gone() && !l.tidied {
		l.tidied = true
		e.loop.ops.add(func(context.Context) { e.kept.Clear() })
		e.tidyAfter(0)
	}
	now := time.Now() // as of files
	if l.ending != nil && now.Sub(l.since) < endPatience || !l.grown.Wants(s, now) {
		return
	}
	l.measuring, l.ending = true, nil
	dirs, pids := e.whatRunsHas()
	since := l.grown.Since()
	e.loop.looks.add(func(ctx context.Context) {
		has, err := measured(ctx, &e.cfg, since, dirs, pids)
		if err != nil {
			return // the executor ends
		}
		e.disk.check(e.log) // it may have taken a while
		e.post(func() {
			l.measuring = false
			e.judge(has)
		})
	})
}

// whatRunsHas are the folders of each attempt that has a process, and that process.
func (e *Executor) whatRunsHas() (dirs map[string][]string, pids map[string]int) {
	dirs, pids = map[string][]string{}, map[string]int{}
	for _, a := range e.loop.tasks {
		if !a.state.hasProcess() {
			continue
		}
		dirs[a.id] = append(e.prepare.Temps.Of(a.id), e.logDir(a.id))
		if a.ownFolder() {
			dirs[a.id] = append(dirs[a.id], e.prepare.Folders.Dir(a.id))
		}
		if a.rec.PID > 0 {
			pids[a.id] = a.rec.PID
		}
	}
	return dirs, pids
}

func measured(ctx context.Context, cfg *Config, since time.Time, dirs map[string][]string, pids map[string]int) (map[string]usage.Size, error) {
	has := make(map[string]usage.Size, len(dirs))
	for id, of := range dirs {
		size, err := usage.Of(ctx, since, of...)
		if err != nil {
			return nil, err
		}
		has[id] = size
	}
	dev, err := usage.Device(cfg.DataDir)
	if err != nil {
		return has, nil //nolint:nilerr // what is in folders is known
	}
	unlinked, err := usage.Unlinked(ctx, cfg.ProcRoot, dev, pids)
	for id, bytes := range unlinked {
		size := has[id]
		size.Bytes, size.Fresh = size.Bytes+bytes, size.Fresh+bytes
		has[id] = size
	}
	return has, err
}

// judge ends whoever fills the disk, if anybody here does.
func (e *Executor) judge(has map[string]usage.Size) {
	l := &e.loop.space
	s, ok := e.disk.space()
	if !ok {
		return
	}
	id, by := l.grown.Take(s, time.Now(), has)
	a := e.withProcess(id)
	if a == nil {
		return
	}
	message := fmt.Sprintf("it filled the disk of node %s: it had %s there, %s of it since space ran short; %s was free, and %s is kept for the node itself (--disk-reserve): have it write less, or to another disk",
		e.cfg.Name, api.Bytes(has[id].Bytes), api.Bytes(by), api.Bytes(s.Free), api.Bytes(s.Reserve))
	e.log.Error("a task fills the disk and is ended", "task", a.id, "has", api.Bytes(has[id].Bytes), "grown", api.Bytes(by), "free", api.Bytes(s.Free), "reserve", api.Bytes(s.Reserve))
	l.ending, l.since, a.filled = a, time.Now(), true
	e.happen(a, kill, news{why: verdict{api.TaskFailed, api.ReasonDiskFull, message}})
}

// withProcess is the attempt of an id, if it has one.
func (e *Executor) withProcess(id string) *attempt {
	for _, a := range e.loop.tasks {
		if a.id == id && a.state.hasProcess() {
			return a
		}
	}
	return nil
}

// makeRoom removes at once what an attempt left that filled the disk, but its logs.
// Nobody else is ended for want of space before that is done.
func (e *Executor) makeRoom(a *attempt) {
	temps := e.prepare.Temps.Ended(a.id)
	e.loop.temps.add(func(ctx context.Context) {
		for _, dir := range temps {
			if err := e.prepare.Temps.Remove(ctx, dir); err != nil && ctx.Err() == nil {
				e.log.Warn("what a task left in its temporary folder cannot be removed", "folder", dir, "error", err)
			}
		}
		if a.ownFolder() {
			if err := e.prepare.Folders.Discard(a.id); err != nil {
				e.log.Warn("the working folder of a task that filled the disk cannot be removed", "error", err)
			}
		}
		e.post(func() {
			if l := &e.loop.space; l.ending == a {
				l.ending = nil
				l.grown.Again()
			}
		})
	})
}
