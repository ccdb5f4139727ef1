package cluster

import (
	"context"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// markEvery is how often a node tells how far its audit has come, if it has.
const markEvery = time.Hour

// auditMark is what to say of this node's audit: as it is at the start, then once
// an hour, and at once when it cannot be written or can again. At the start it is
// held against what the cluster was told before.
func (a *Agent) auditMark(ctx context.Context, told *api.NodeHello) *api.AuditMark {
	if a.level() < fsm.AuditMarks.Level() {
		return nil
	}
	now := a.cfg.Now()
	var was *api.AuditMark
	if told != nil {
		was = told.Audit
	}
	if was == nil {
		a.auditWas = a.againstMark(ctx)
	}
	trouble := a.auditWas
	if why := a.audit.Trouble(); why != "" {
		trouble = "it cannot be written: " + why
	}
	trouble = trouble[:min(len(trouble), 256)]
	if was != nil && was.Trouble == trouble && now.Sub(a.auditTold) < markEvery {
		return was
	}
	head, err := a.audit.Head()
	if err != nil {
		a.log.Warn("the audit may not be on disk", "err", err)
		return was
	}
	a.auditTold = now
	return &api.AuditMark{Number: head.Number, Hash: head.Hash, Trouble: trouble}
}

// againstMark says why the audit is not the one that the cluster was told of.
func (a *Agent) againstMark(ctx context.Context) string {
	n := a.ownRecord()
	if n == nil {
		return ""
	}
	why, err := a.audit.Against(ctx, n.Audit)
	if err != nil {
		why = "it cannot be read: " + err.Error()
	}
	if why != "" {
		a.log.Error("the audit of this node is not as it was", "why", why)
	}
	return why
}
