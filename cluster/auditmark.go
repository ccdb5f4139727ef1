package cluster

import (
	"context"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

const (
	markEvery = time.Hour       // between two marks
	markWait  = 5 * time.Second // for the disk
)

// auditMark is what to say of this node's audit: as it is at the start, then once
// an hour, and at once when it cannot be written or can again. At the start it is
// held against what the cluster was told before.
func (a *Agent) auditMark(ctx context.Context, told *api.NodeHello) *api.AuditMark {
	if a.level() < fsm.AuditMarks.Level() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, markWait)
	defer cancel()
	now := a.cfg.Now()
	var was *api.AuditMark
	if told != nil {
		was = told.Audit
	}
	if was == nil {
		why, known := a.againstMark(ctx, a.ownRecord())
		if !known {
			return nil // it is asked for again
		}
		a.auditWas = why
	}
	trouble := a.auditWas
	if why := a.audit.Trouble(); why != "" {
		trouble = "it cannot be written: " + why
	}
	trouble = trouble[:min(len(trouble), 256)]
	if was != nil && was.Trouble == trouble && now.Sub(a.auditTold) < markEvery {
		return was
	}
	head, err := a.audit.Head(ctx)
	if err != nil && was != nil && was.Trouble != trouble { // as far as it had come, and what is wrong
		return &api.AuditMark{Number: was.Number, Hash: was.Hash, Trouble: trouble}
	}
	if err != nil {
		a.log.Warn("the audit may not be on disk", "err", err)
		return was
	}
	a.auditTold = now
	return &api.AuditMark{Number: head.Number, Hash: head.Hash, Trouble: trouble}
}

// againstMark says why the audit is not the one that the cluster was told of, as it
// knows this node; false if that cannot be said now.
func (a *Agent) againstMark(ctx context.Context, n *api.Node) (why string, known bool) {
	if n == nil {
		return "", false
	}
	why, err := a.audit.Against(ctx, n.Audit)
	if ctx.Err() != nil {
		return "", false
	}
	if err != nil {
		why = "it cannot be read: " + err.Error()
	}
	if why != "" && a.auditWas == "" {
		a.log.Error("the audit of this node is not as it was", "why", why)
		// The mark is replaced by one that fits, so the audit itself has to say so.
		a.audit.Note(api.AuditRecord{Action: api.AuditBroken, Outcome: api.AuditFailed, Reason: why}, nil, nil)
	}
	return why, true
}
