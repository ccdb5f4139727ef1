package fsm

import (
	"cmp"
	"maps"
	"slices"

	"github.com/mesita/mesita/api"
)

// Unfit says why a node never gets a task of the job, however empty it is, "" if
// it may.
func Unfit(n *api.Node, part *api.Partition, spec *api.JobSpec) string {
	return cmp.Or(n.Unmet(part, spec), Unable(n, spec))
}

// Unable says what a node cannot do of what a job asks for.
func Unable(n *api.Node, spec *api.JobSpec) string {
	if Level(n.Level) < SpecLevel(spec) {
		return "runs an older mesita (" + n.Version + ") that does not know ulimits, nice, cpuLimit, memLimit, pin, unconfined, USER:GROUP or mesita-task: upgrade it"
	}
	return n.Unable(spec)
}

// Neighbours is where the jobs are that a spec wants to be with or away from, nil
// if it names none.
func (v *View) Neighbours(spec *api.JobSpec) *api.Neighbours {
	return neighbours(spec, v.t.nodesOf)
}

func neighbours(spec *api.JobSpec, nodesOf func(job string) []*api.Node) *api.Neighbours {
	if len(spec.Affinity) == 0 {
		return nil
	}
	n := api.NewNeighbours(spec)
	var seen []string
	for _, a := range spec.Affinity {
		if slices.Contains(seen, a.Job) {
			continue
		}
		seen = append(seen, a.Job)
		for _, at := range nodesOf(a.Job) {
			n.Note(a.Job, at)
		}
	}
	return n
}

// nodesOf are the nodes on which tasks of a job are, one for each task.
func (t *tables) nodesOf(job string) (out []*api.Node) {
	t.tasks.rows.AscendGreaterOrEqual(&api.Task{Job: job, Index: -1}, func(other *api.Task) bool {
		if other.Job != job {
			return false
		}
		if !other.Holds() {
			return true
		}
		if row := t.nodes.get(&nodeRow{node: &api.Node{ID: other.NodeID}}); row != nil {
			out = append(out, row.node)
		}
		return true
	})
	return out
}

// placing is what one command that places tasks needs to know of the rules.
type placing struct {
	jobs map[versionKey]*placingJob
	at   map[string][]*api.Node // where jobs are that others want to be with, or not

	tally   *Tally
	counted bool
}

type versionKey struct {
	job     string
	version int
}

// placingJob is one version of a job.
type placingJob struct {
	spec *api.JobSpec
	part *api.Partition
	near *api.Neighbours // as of the placements before
}

// rules is what holds for a task; nil below the level from which apply keeps them,
// and for a version that is no more.
func (x *tx) rules(t *api.Task) *placingJob {
	if !x.does(PlaceRules) {
		return nil
	}
	key := versionKey{t.Job, t.Version}
	r, known := x.placing.jobs[key]
	if known {
		return r
	}
	if j := x.jobAt(t.Job); j != nil && j.SpecFor(t) != nil {
		r = &placingJob{spec: j.SpecFor(t), part: x.eligible(t.Partition)}
		r.near = neighbours(r.spec, x.placedAt)
	}
	if x.placing.jobs == nil {
		x.placing.jobs = map[versionKey]*placingJob{}
	}
	x.placing.jobs[key] = r
	return r
}

// placedAt are the nodes on which tasks of a job are by now. A job may have a
// million rows, and be named by all that the command places.
func (x *tx) placedAt(job string) []*api.Node {
	at, known := x.placing.at[job]
	if !known {
		at = x.nodesOf(job)
		if x.placing.at == nil {
			x.placing.at = map[string][]*api.Node{}
		}
		x.placing.at[job] = at
	}
	return at
}

// follows reports whether a placement on a node keeps all rules: the node meets what
// the job and its partition ask, the task holds what it asks for, and its
// neighbours are those that it wants.
func (r *placingJob) follows(t *api.Task, p *Placement, n *api.Node) bool {
	// Which level a spec asks of a node apply has looked at, as far as all voters know.
	return r == nil || n.Unmet(r.part, r.spec) == "" && n.Unable(r.spec) == "" && r.asked(t, p) && r.among(n)
}

// asked reports whether a placement holds what its task asks for, no less and no
// more, and has a number for each of its ports.
func (r *placingJob) asked(t *api.Task, p *Placement) bool {
	need := p.need(t)
	ports := need.Ports
	need.Ports = nil
	asks := t.Resources
	asks.Ports = nil
	if !need.Equal(asks) || len(p.Ports) != len(r.spec.Ports) || ports.Count() != int64(len(p.Ports)) {
		return false
	}
	for _, want := range r.spec.Ports {
		n, ok := p.Ports[want.Name]
		if one := (api.Ranges{{First: int64(n), Last: int64(n)}}); !ok || want.Port != 0 && n != want.Port || !ports.Contains(one) {
			return false
		}
	}
	return true
}

func (r *placingJob) among(n *api.Node) bool {
	if r.near == nil {
		return true
	}
	_, against := r.near.Check(n)
	return against == nil
}

// clone continues by itself.
func (c placing) clone() placing {
	out := placing{jobs: make(map[versionKey]*placingJob, len(c.jobs)), at: maps.Clone(c.at), tally: c.tally, counted: c.counted}
	for key, r := range c.jobs {
		if r != nil {
			copied := *r
			copied.near = r.near.Clone()
			r = &copied
		}
		out.jobs[key] = r
	}
	return out
}

// note tells those that are placed by the same command of a task.
func (c *placing) note(job string, n *api.Node) {
	if at, known := c.at[job]; known {
		c.at[job] = append(at, n) // a clone that shares it is done with by then
	}
	for _, r := range c.jobs {
		if r != nil && r.near != nil {
			r.near.Note(job, n)
		}
	}
}
