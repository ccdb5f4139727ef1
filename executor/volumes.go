package executor

import (
	"context"
	"time"
)

// pruneAgain is after how long what could not be removed of a volume is tried again.
const pruneAgain = time.Minute

// KeepVolumes says which folders of volumes this node has to keep, as the state has them
// from which the next set is, at that index: what else is there is removed, but what was
// made since. It never blocks.
func (e *Executor) KeepVolumes(folders []string, index uint64) {
	if e.prepare.Volumes.Keep(folders, index) {
		e.post(e.pruneVolumes)
	}
}

// pruneVolumes has one worker at most: what it removes may be large, and others wait for
// their turn.
func (e *Executor) pruneVolumes() {
	l := &e.loop
	if l.pruning {
		l.pruneMore = true
		return
	}
	l.pruning = true
	l.temps.add(func(ctx context.Context) {
		err := e.prepare.Volumes.Prune(ctx)
		e.post(func() {
			l.pruning = false
			if l.pruneMore {
				l.pruneMore = false
				e.pruneVolumes()
			}
		})
		if err == nil || ctx.Err() != nil {
			return
		}
		e.log.Warn("a volume that was destroyed cannot be removed, and is tried again", "folder", e.prepare.Volumes.Dir(""), "error", err)
		e.post(func() {
			if l.prune == nil {
				l.prune = e.after(pruneAgain, func() {
					l.prune = nil
					e.pruneVolumes()
				})
			}
		})
	})
}
