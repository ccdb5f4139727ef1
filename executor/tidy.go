package executor

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"
)

const (
	tidyEvery   = time.Minute
	maxEndedLog = 20_000 // attempts whose logs are kept
)

// tidyLater plans a garbage collection soon, since there is new garbage.
func (e *Executor) tidyLater() {
	l := &e.loop
	if l.tidying {
		l.dirty = true
		return
	}
	e.tidyAfter(tidyEvery)
}

func (e *Executor) tidyAfter(d time.Duration) {
	l := &e.loop
	due := e.cfg.Now().Add(d)
	if l.gc != nil && !l.gcDue.After(due) {
		return
	}
	if l.gc != nil {
		l.gc.Stop()
	}
	l.gcDue, l.gc = due, e.after(d, e.tidy)
}

// tidy removes the working folders and logs of attempts that ended long ago.
func (e *Executor) tidy() {
	l := &e.loop
	l.gc, l.tidying, l.dirty = nil, true, false
	live := make(map[string]bool, l.active)
	for _, a := range l.tasks {
		if !a.state.ended() {
			live[a.id] = true
		}
	}
	now := e.cfg.Now()
	e.tidyTemps()
	l.ops.add(func(context.Context) {
		next := min(e.tidyDirs(live, now), e.tidyLogs(live, now))
		e.post(func() {
			l.tidying = false
			if l.dirty {
				next = 0
			}
			if next < never {
				e.tidyAfter(max(next, tidyEvery))
			}
		})
	})
}

const never = time.Duration(1<<63 - 1)

// attempts lists the folders of attempts below root, as task/attempt.
func attempts(root string) ([]string, error) {
	tasks, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, t := range tasks {
		ns, err := os.ReadDir(filepath.Join(root, t.Name()))
		if err != nil {
			continue // removed meanwhile
		}
		if len(ns) == 0 {
			_ = os.Remove(filepath.Join(root, t.Name())) // fails if it is in use again
		}
		for _, n := range ns {
			out = append(out, t.Name()+"/"+n.Name())
		}
	}
	return out, nil
}

// tidyDirs removes old working folders; it tells when the next one is old.
func (e *Executor) tidyDirs(live map[string]bool, now time.Time) time.Duration {
	ids, err := e.prepare.Folders.Attempts()
	if err != nil {
		e.log.Warn("old working folders cannot be listed", "error", err)
		return never
	}
	next, keep := never, e.cfg.DirKeep
	if s, ok := e.disk.space(); ok && s.Gone() {
		keep = 0
	}
	for _, id := range ids {
		if live[id] {
			continue
		}
		ended := e.endedAt(id)
		if left := ended.Add(keep).Sub(now); left > 0 {
			next = min(next, left)
			continue
		}
		if err := e.prepare.Folders.Discard(id); err != nil {
			e.log.Warn("an old working folder cannot be removed", "error", err)
		}
	}
	return next
}

// removeTemps removes temporary folders that are nobody's.
func (e *Executor) removeTemps(dirs []string) {
	for _, dir := range dirs {
		e.loop.temps.add(func(ctx context.Context) {
			if err := e.prepare.Temps.Remove(ctx, dir); err != nil && ctx.Err() == nil {
				e.log.Warn("what a task left in its temporary folder cannot be removed", "folder", dir, "error", err)
			}
		})
	}
}

// giveFolders gives back what an attempt that ended had of folders; gone: every process
// of it is, so that they may be used again.
func (e *Executor) giveFolders(a *attempt, gone bool) {
	if a.filled {
		return // see makeRoom
	}
	temps := e.prepare.Temps.Ended(a.id)
	if !gone {
		e.removeTemps(temps)
		temps = nil
	}
	id, own, spec, started := a.id, a.ownFolder(), a.spec, a.rec.Started
	if !own && len(temps) == 0 {
		return
	}
	e.loop.ops.add(func(context.Context) {
		e.removeTemps(e.prepare.Temps.Keep(temps))
		if own {
			if gone {
				e.prepare.TakeFiles(id, spec, started)
			}
			e.prepare.Folders.Release(id, gone)
		}
	})
	e.trimLater()
}

// trimEvery is how often folders are removed that were kept for attempts which did not
// come.
const trimEvery = 10 * time.Second

// trimLater plans that, unless it is.
func (e *Executor) trimLater() {
	l := &e.loop
	if l.trim != nil {
		return
	}
	l.trim = e.after(trimEvery, func() {
		l.temps.add(func(ctx context.Context) {
			working, temps := e.prepare.Folders.Trim(ctx), e.prepare.Temps.Trim(ctx)
			e.post(func() {
				if l.trim = nil; working || temps {
					e.trimLater()
				}
			})
		})
	})
}

// tidyTemps removes the temporary folders of those that ended without a process, or
// while no daemon was there. An attempt is known before it has one, so whoever has
// one and is not known has ended.
func (e *Executor) tidyTemps() {
	if e.loop.ready { // or a later tidy finds them
		e.removeTemps(e.prepare.Temps.Nobodys(e.liveAttempts()))
	}
}

// stock has folders made for future starts, which none of them waits for.
func (e *Executor) stock() {
	if e.prepare.Temps.Low() {
		e.loop.ops.add(e.prepare.Temps.Fill)
	}
	if e.prepare.Folders.Low() {
		e.loop.ops.add(e.prepare.Folders.Fill)
	}
}

// liveAttempts are those that have not ended. The loop calls it once it knows what
// runs.
func (e *Executor) liveAttempts() map[string]bool {
	live := make(map[string]bool, e.loop.active)
	for id := range e.loop.unclaimed {
		live[id] = true
	}
	for _, a := range e.loop.tasks {
		live[a.id] = live[a.id] || !a.state.ended()
	}
	return live
}

// leaveEnded has the users of attempts that ended under an earlier daemon make room
// for others. What runs is known by now.
func (e *Executor) leaveEnded() {
	live := e.liveAttempts()
	e.loop.ops.add(func(context.Context) {
		at := map[string]time.Time{}
		for _, id := range e.prepare.Folders.Found() {
			if !live[id] {
				at[id] = e.endedAt(id)
			}
		}
		e.prepare.Folders.Leave(slices.SortedFunc(maps.Keys(at), func(a, b string) int {
			return cmp.Or(at[a].Compare(at[b]), strings.Compare(a, b))
		}))
	})
}

// endedAt is about when an attempt ended: when its log did.
func (e *Executor) endedAt(id string) time.Time {
	if _, at, err := logSize(e.logDir(id)); err == nil {
		return at
	}
	fi, err := os.Stat(e.prepare.Folders.Dir(id))
	if err != nil {
		return time.Time{}
	}
	return fi.ModTime()
}

func logSize(dir string) (size int64, last time.Time, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0, last, err
	}
	for _, f := range files {
		fi, err := f.Info()
		if err != nil {
			continue // rotated away
		}
		size += fi.Size()
		if fi.ModTime().After(last) {
			last = fi.ModTime()
		}
	}
	return size, last, nil
}

type oldLog struct {
	id   string
	size int64
	last time.Time
}

// tidyLogs removes logs over the age, the total size and the number that are
// kept; it tells when the next one is too old.
func (e *Executor) tidyLogs(live map[string]bool, now time.Time) time.Duration {
	ids, err := attempts(filepath.Join(e.cfg.DataDir, "logs"))
	if err != nil {
		e.log.Warn("old logs cannot be listed", "error", err)
		return never
	}
	var old []oldLog
	var total int64
	for _, id := range ids {
		if live[id] {
			continue
		}
		size, last, err := logSize(e.logDir(id))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		old = append(old, oldLog{id, size, last})
		total += size
	}
	sort.Slice(old, func(i, j int) bool { return old[i].last.Before(old[j].last) })
	for i, o := range old {
		left := o.last.Add(e.cfg.LogKeep).Sub(now)
		if left > 0 && total <= e.cfg.LogTotal && len(old)-i <= maxEndedLog {
			return left
		}
		if err := os.RemoveAll(e.logDir(o.id)); err != nil {
			e.log.Warn("an old log cannot be removed", "error", err)
		}
		_ = os.Remove(filepath.Dir(e.logDir(o.id))) // only if that was the last
		total -= o.size
	}
	return never
}
