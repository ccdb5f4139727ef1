package crowd

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/chaos/linear"
	"github.com/mesita/mesita/integration/chaos/record"
	"github.com/mesita/mesita/integration/lab"
)

// Rivals is how many clients change the same objects.
const Rivals = 3

// rival changes the same few objects as others do at the same time.
type rival struct {
	*user
	id     int
	shared *shared
}

// shared is what the rivals fight over.
type shared struct {
	mu       sync.Mutex
	versions map[string]int // of partitions, as last heard
	token    string
}

func (r *Crowd) newRival(i int, s *shared) *rival {
	u := r.newUser(50 + i)
	return &rival{user: u, id: i, shared: s}
}

func (v *rival) work(ctx context.Context) {
	for ctx.Err() == nil {
		switch v.rng.IntN(4) {
		case 0:
			v.partition(ctx, fmt.Sprint("fight", v.rng.IntN(2)))
		case 1:
			v.job(ctx)
		case 2:
			v.tokens(ctx)
		case 3:
			v.scales(ctx)
		}
		lab.Pause(ctx, time.Duration(v.rng.Int64N(int64(300*time.Millisecond))))
	}
}

// relayedTwice is from when on a request may have been sent twice by the node
// that took it: it relays again when the leader was lost on the way, and then
// passes on a refusal that the first of the two explains.
const relayedTwice = 200 * time.Millisecond

// ask sends a request and tells what came of it. After a try that may have
// taken effect, a refusal proves nothing.
func (v *rival) ask(ctx context.Context, method, path string, in, out any) linear.Verdict {
	doubt := false
	began := time.Now()
	err := v.sendDoubt(ctx, method, path, in, out, &doubt)
	code := api.ErrorCode(err)
	switch {
	case err == nil:
		return linear.Done
	case doubt || time.Since(began) > relayedTwice || code != api.CodeConflict && code != api.CodeNotFound:
		return linear.Unsure
	}
	return linear.Refused
}

func (v *rival) partition(ctx context.Context, path string) {
	v.shared.mu.Lock()
	c := linear.Change{Object: path, Before: v.shared.versions[path]}
	v.shared.mu.Unlock()
	query := fmt.Sprint("?if_version=", c.Before)
	if c.Before == 0 {
		query = "?create=1"
	}
	var got api.PartitionChange
	began := time.Now()
	// Values that nobody else asks for, or it would be no change.
	v.n++
	spec := map[string]any{"weight": 1 + v.id + Rivals*(v.n%30), "priority": v.n % 1000}
	verdict := v.ask(ctx, http.MethodPut, "/v1/partitions/"+path+query, spec, &got)
	if verdict == linear.Done {
		c.After = got.Partition.Version
	}
	v.Histories.Note("partition", v.id, began, c, verdict)
	if verdict != linear.Done { // learn what it has now
		var now api.Partition
		if v.at[v.rng.IntN(len(v.at))].Call(http.MethodGet, "/v1/partitions/"+path, nil, &now) != nil {
			return
		}
		c.After = now.Version
	}
	v.shared.mu.Lock()
	v.shared.versions[path] = max(v.shared.versions[path], c.After)
	v.shared.mu.Unlock()
}

// job takes a name that others want in the same second. It waits for room for
// ever, as the name of a job that has ended may be given again, and is like no
// other, as one that asks for what there is gets it.
func (v *rival) job(ctx context.Context) {
	name := fmt.Sprint("once-", int(v.Histories.Age().Seconds()))
	v.n++
	began := time.Now()
	verdict := v.ask(ctx, http.MethodPost, "/v1/jobs", map[string]any{"kind": "batch", "env": map[string]string{"WHO": fmt.Sprintf("%s-%d", v.name, v.n)}, "name": name, "partition": Fought, "cpus": 0.01, "mem": "8MiB",
		"stopGrace": "1s", "command": []string{"/bin/sleep", record.Forever}}, nil)
	v.Histories.Note("job", v.id, began, linear.Change{Object: name}, verdict)
	if verdict == linear.Done {
		v.mu.Lock()
		v.names = append(v.names, name)
		v.mu.Unlock()
	}
}

// tokens makes one for all, or revokes it beside the others.
func (v *rival) tokens(ctx context.Context) {
	v.shared.mu.Lock()
	id := v.shared.token
	if v.rng.IntN(3) == 0 {
		v.shared.token = ""
	}
	v.shared.mu.Unlock()
	if id != "" {
		began := time.Now()
		v.Histories.Note("token", v.id, began, linear.Change{Object: id}, v.ask(ctx, http.MethodDelete, "/v1/tokens/"+id, nil, nil))
		return
	}
	var g api.TokenGrant
	if v.ask(ctx, http.MethodPost, "/v1/tokens", api.TokenRequest{Kind: api.TokenClient, Role: api.RoleViewer}, &g) == linear.Done {
		v.shared.mu.Lock()
		v.shared.token = g.ID
		v.shared.mu.Unlock()
	}
}

// Fought is the service that the rivals scale; its partition has room for one
// of its tasks.
const Fought = "fought"

func (v *rival) scales(ctx context.Context) {
	c := linear.Change{Object: Fought, Count: v.rng.IntN(100)}
	began := time.Now()
	if verdict := v.ask(ctx, http.MethodPost, "/v1/jobs/"+Fought+"/scale", map[string]int{"count": c.Count}, nil); verdict != linear.Refused {
		v.Histories.Note("scale", v.id, began, c, verdict)
	}
}

// makeFought makes that service, with no task.
func (r *Crowd) makeFought() {
	r.o.Nodes[0].Must(http.MethodPut, "/v1/partitions/"+Fought+"?create=1", map[string]any{"limit": map[string]any{"cpus": 0.015}}, nil)
	r.o.Nodes[0].Submit(map[string]any{"kind": "service", "name": Fought, "partition": Fought, "count": 0, "cpus": 0.01, "mem": "8MiB",
		"stopGrace": "1s", "command": []string{"/bin/sleep", record.Forever}})
}
