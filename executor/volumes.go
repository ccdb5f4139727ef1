package executor

import (
	"context"
	"time"
)

// pruneAgain is after how long what could not be removed of a volume is tried again.
const pruneAgain = time.Minute

// KeepVolumes says which folders of volumes this node has to keep, as the state has them
// from which the next set is: what else is there is removed. It never blocks.
func (e *Executor) KeepVolumes(folders []string) {
	if e.prepare.Volumes.Keep(folders) {
		e.post(e.pruneVolumes)
	}
}

func (e *Executor) pruneVolumes() {
	e.loop.temps.add(func(ctx context.Context) {
		err := e.prepare.Volumes.Prune(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		e.log.Warn("a volume that was destroyed cannot be removed, and is tried again", "folder", e.prepare.Volumes.Dir(""), "error", err)
		e.post(func() {
			if l := &e.loop; l.prune == nil {
				l.prune = e.after(pruneAgain, func() {
					l.prune = nil
					e.pruneVolumes()
				})
			}
		})
	})
}
