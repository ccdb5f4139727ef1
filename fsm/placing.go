package fsm

import (
	"cmp"
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
func (v *View) Neighbours(spec *api.JobSpec) *api.Neighbours { return v.t.neighbours(spec) }

func (t *tables) neighbours(spec *api.JobSpec) *api.Neighbours {
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
		t.tasks.rows.AscendGreaterOrEqual(&api.Task{Job: a.Job, Index: -1}, func(other *api.Task) bool {
			if other.Job != a.Job {
				return false
			}
			if row := t.nodes.get(&nodeRow{node: &api.Node{ID: other.NodeID}}); row != nil && other.Holds() {
				n.Note(a.Job, row.node)
			}
			return true
		})
	}
	return n
}

// placing is what one command that places tasks needs to know of the rules.
type placing struct {
	jobs map[versionKey]*placingJob
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
	if j := x.jobAt(t.Job); j != nil && j.SpecOf(t.Version) != nil {
		r = &placingJob{spec: j.SpecOf(t.Version), part: x.eligible(t.Partition)}
		r.near = x.neighbours(r.spec)
	}
	if x.placing.jobs == nil {
		x.placing.jobs = map[versionKey]*placingJob{}
	}
	x.placing.jobs[key] = r
	return r
}

// follows tells whether a placement on a node keeps all rules: the node meets what
// the job and its partition ask, the task holds what it asks for, and its
// neighbours are those that it wants.
func (r *placingJob) follows(t *api.Task, p *Placement, n *api.Node) bool {
	return r == nil || Unfit(n, r.part, r.spec) == "" && r.asked(t, p) && r.among(n)
}

// asked tells whether a placement holds what its task asks for, no less and no
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

// clone goes on by itself.
func (c placing) clone() placing {
	out := placing{jobs: make(map[versionKey]*placingJob, len(c.jobs))}
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
	for _, r := range c.jobs {
		if r != nil && r.near != nil {
			r.near.Note(job, n)
		}
	}
}
