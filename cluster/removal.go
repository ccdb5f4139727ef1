package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus/disk"
	"github.com/mesita/mesita/cluster/tlsconf"
)

// removedFile is there once this node was told that it was removed, and holds
// the proof.
const removedFile = "removed.json"

// removalOf signs that a node was removed.
func (a *Agent) removalOf(n *api.Node) (*api.Renewal, error) {
	auth := a.authority()
	ca, err := tlsconf.LoadCA(auth.CACert, auth.CAKey)
	if err != nil {
		return nil, fmt.Errorf("load the cluster's CA: %w", err)
	}
	r := &api.Removal{At: n.Since, Age: a.line.ID()}
	if r.Signature, err = ca.SignRemoval(r.Age, n.ID, r.At); err != nil {
		return nil, err
	}
	return &api.Renewal{Removal: r}, nil
}

// takeRemoval believes a removal that is proven: it is kept for the next start,
// and the node's tasks end.
func (a *Agent) takeRemoval(r *api.Removal) error {
	if err := a.certs.CheckRemoval(r.Age, r.At, r.Signature); err != nil {
		return err
	}
	if a.removal.Load() != nil {
		return nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	// Kept before it shows: the next start must not know less than was said.
	if err := disk.WriteFile(a.dir.File(removedFile), b, 0o600); err != nil {
		a.log.Error("that this node was removed is not kept for its next start", "err", err)
	}
	if a.removal.CompareAndSwap(nil, r) {
		a.log.Error("this node was removed from its cluster: it ends its tasks", "removed", r.At, "remedy", rejoinRemedy)
		a.leave()
	}
	return nil
}

const rejoinRemedy = "stop it, move its data folder away, and join anew: mesita node join ADDRESS --token TOKEN"

// removedError is nil unless this node knows that it was removed.
func (a *Agent) removedError() error {
	if r := a.removal.Load(); r != nil {
		return removed(r)
	}
	return nil
}

func removed(r *api.Removal) error {
	return api.Errorf(api.CodeConflict, "this node was removed from its cluster at %s, and its tasks were ended: %s", r.At.Format(time.RFC3339), rejoinRemedy)
}

// loadRemoval reads the proof of an earlier start; nil if there is none.
func (a *Agent) loadRemoval() (*api.Removal, error) {
	path := a.dir.File(removedFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read whether this node was removed: %w", err)
	}
	r := new(api.Removal)
	if err = json.Unmarshal(b, r); err == nil {
		err = a.certs.CheckRemoval(r.Age, r.At, r.Signature)
	}
	if err != nil {
		return nil, api.Errorf(api.CodeFailed, "%s proves nothing (%v): if this node is in its cluster (`mesita node ls` on another), remove that file", path, err)
	}
	return r, nil
}

// refuseRemoved fails on a node that was removed, once nothing of it runs.
func (a *Agent) refuseRemoved(ctx context.Context) error {
	r, err := a.loadRemoval()
	if r == nil || err != nil {
		return err
	}
	return errors.Join(removed(r), a.endTasks(ctx))
}

// endTime bounds how long the tasks of a node that has no part in its cluster
// may take to end, at its start.
const endTime = time.Minute

// endTasks ends what the node still runs.
func (a *Agent) endTasks(ctx context.Context) error {
	if err := a.openExecutor(nobody{}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- a.exec.Run(inner) }()
	err := a.exec.EndAll(ctx)
	stop()
	return errors.Join(err, <-done)
}

// nobody is told what becomes of tasks that nobody asks after any more.
type nobody struct{}

func (nobody) Report(context.Context, []api.TaskStatus) error { return nil }
