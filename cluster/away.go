package cluster

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/vouch"
	"github.com/mesita/mesita/fsm"
)

// askAwayAgain is how often a node that is away is asked after.
const askAwayAgain = time.Second

// maxRelease is how many attempts one command gives up.
const maxRelease = 1024

// absence is what this leader knows of a node whose daemon is away while the
// keeper, the parent of its tasks, answers.
type absence struct {
	since time.Time           // when this leader first saw it
	kept  map[fsm.Victim]bool // attempts that the keeper holds, as it said
}

func (l *liveness) absence(n *api.Node, now time.Time) *absence {
	a := l.away[n.ID]
	if a == nil {
		a = &absence{since: now, kept: map[fsm.Victim]bool{}}
		l.away[n.ID] = a
	}
	return a
}

// vouched reports whether the keeper of a node answers, in the life of the
// machine that the cluster knows.
func (l *liveness) vouched(ctx context.Context, n *api.Node) bool {
	if l.keeper == nil || !l.store.View().Does(fsm.AwayNodes) {
		return false
	}
	a, err := l.keeper(ctx, vouch.Probe{Node: n.ID})
	return err == nil && a.Boot == n.Boot
}

// askAfter sees whether the keeper of a node that is away still answers. If not
// the node is lost. What the daemon never said a word of starts elsewhere at
// once, if the keeper has not heard of it either: most likely it was placed
// after the daemon was gone. A service waits for the daemon as long as for one
// that was stopped on purpose; what runs to an end of its own is let run for as
// long as the keeper answers, as starting it elsewhere would run it twice.
func (l *liveness) askAfter(ctx context.Context, n *api.Node, a *absence) {
	switch l.hear(ctx, n, theKeeper) {
	case noOne:
		l.lost(ctx, n)
	case theKeeper:
		l.release(ctx, n, a, n.State == api.NodeDown || l.now().Sub(a.since) >= leaveGrace)
	}
}

// release gives up on what need not stay on a node that is away: services, what
// was told to stop, and attempts that the keeper knows nothing of. Those never
// started, or their end is in the daemon's journal and known to the cluster.
// Before it is due, only attempts of which nothing was reported are looked at.
func (l *liveness) release(ctx context.Context, n *api.Node, a *absence, due bool) {
	v := l.store.View()
	var ask, gone []fsm.Victim
	for t := range v.NodeTasks(n.ID) {
		j := v.Job(t.Job)
		at := fsm.Victim{Job: t.Job, Index: t.Index, Attempt: t.Attempt}
		switch {
		case t.State.Final() || a.kept[at]:
		case !due && (t.State != api.TaskStaging || j == nil || j.Spec.AtMostOnce):
		case !due:
			ask = append(ask, at)
		case j == nil || j.Stop || t.Desired == api.DesiredStop:
			gone = append(gone, at)
		case j.Spec.AtMostOnce:
		case j.Spec.Kind != api.KindBatch:
			gone = append(gone, at)
		default:
			ask = append(ask, at)
		}
	}
	unknown, err := l.unknown(ctx, n, a, ask)
	if err != nil && ctx.Err() == nil {
		l.log.Warn("the keeper of a node that is away did not say what it runs; it is asked again", "node", n.Name, "err", err)
	}
	for part := range slices.Chunk(append(gone, unknown...), maxRelease) {
		l.propose(ctx, n, &fsm.NodeRelease{Meta: l.meta(), ID: n.ID, Since: n.Since, Attempts: part})
	}
}

// unknown asks the keeper about attempts, and returns those that it does not
// hold.
func (l *liveness) unknown(ctx context.Context, n *api.Node, a *absence, attempts []fsm.Victim) (out []fsm.Victim, err error) {
	for part := range slices.Chunk(attempts, vouch.MaxNamed) {
		p := vouch.Probe{Node: n.ID}
		for _, at := range part {
			p.Attempts = append(p.Attempts, api.TaskID(at.Job, at.Index)+"/"+strconv.Itoa(at.Attempt))
		}
		pctx, cancel := context.WithTimeout(ctx, answerTime)
		r, err := l.keeper(pctx, p)
		cancel()
		if err != nil {
			return out, err
		}
		if r.Boot != n.Boot {
			return out, errors.New("the machine was rebooted")
		}
		for i, f := range r.Fates {
			if f == vouch.Unknown {
				out = append(out, part[i])
			} else {
				a.kept[part[i]] = true
			}
		}
	}
	return out, nil
}
