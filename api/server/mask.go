package server

import (
	"cmp"
	"maps"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
)

// masked is an answer as the caller may see it: the values of environments are seen
// by who may deploy the job, and of other jobs only those that it sees. All answers
// pass here, as a job may be in one whose route is not about it: who sends a request
// again gets the job that it made.
func (c *call) masked(answer any) any {
	if c.ID.Role == api.RoleAdmin {
		return answer
	}
	switch a := answer.(type) {
	case exchange.With:
		a.Value = c.masked(a.Value)
		return a
	case exchange.List:
		items, sees := a.Items, c.sight(c.Store.View())
		a.Items = func(yield func(any) bool) {
			items(func(item any) bool { return yield(sees.shown(item)) })
		}
		return a
	}
	return c.sight(c.Store.View()).shown(answer)
}

// shown is a value as the caller may see it. What is in the state is copied, and not
// changed.
func (s *sight) shown(value any) any {
	if j, ok := value.(*api.Job); ok {
		return s.shownJob(j)
	}
	if _, ok := value.(*api.Event); ok { // listEvents showed it: for admins too, a job's earlier versions stay out
		return value
	}
	if s.all {
		return value
	}
	switch a := value.(type) {
	case *api.Why:
		if a != nil {
			a.Hide(s.job)
		}
	case api.PartitionChange:
		a.Hide(s.job)
	case *api.Task:
		return s.shownTask(a)
	case *api.Incident:
		out := *a
		out.Hide()
		return &out
	case *api.NodeStatus:
		if a == nil || a.Starts == nil {
			break
		}
		out := *a
		out.Node = s.shownNode(a.Node)
		return &out
	}
	return value
}

// shownNode leaves out of a node what it says of others' jobs.
func (s *sight) shownNode(n *api.Node) *api.Node {
	if n.Starts == nil {
		return n
	}
	out, starts := *n, *n.Starts
	starts.Hide(s.job)
	out.Starts = &starts
	return &out
}

// shownJob masks the values of each version by itself, and leaves out the versions
// of when the job was where the caller does not see it.
func (s *sight) shownJob(j *api.Job) *api.Job {
	if j == nil {
		return j
	}
	name := cmp.Or(j.Spec.Name, j.ID)
	spec := func(of *api.JobSpec) *api.JobSpec {
		if of == nil || auth.May(s.id, auth.ReadValues, admit.Object(s.view, of.Partition, name)) == nil {
			return of
		}
		return maskedSpec(of)
	}
	out := *j
	out.Spec, out.History = spec(j.Spec), nil
	for _, h := range j.History {
		if h.Spec != nil && !s.ReadsIn(j, h.Spec.Partition) {
			continue
		}
		h.Spec = spec(h.Spec)
		out.History = append(out.History, h)
	}
	if !s.AllOf(j) { // who made it may have, there
		out.Actor, out.Request = "", ""
		out.Places = slices.DeleteFunc(slices.Clone(j.Places), func(p api.JobPlace) bool { return !s.ReadsIn(j, p.Partition) })
	}
	return &out
}

func maskedSpec(s *api.JobSpec) *api.JobSpec {
	if s == nil || len(s.Env) == 0 {
		return s
	}
	out := *s
	out.Env = maskedValues(s.Env)
	return &out
}

func maskedValues(env map[string]string) map[string]string {
	out := maps.Clone(env)
	for k := range out {
		out[k] = api.Masked
	}
	return out
}

// shownOwn masks what a framework's task has of its own as a spec is masked. What its
// framework sent goes to nobody else: it has the same values once more.
func (s *sight) shownOwn(t *api.Task) *api.Task {
	out, own := *t, *t.Framework
	own.Info, own.Updates, own.Last, own.Digest, out.Framework = nil, nil, nil, nil, &own
	j := s.view.Job(t.Job)
	if spec := own.Spec; spec != nil && len(spec.Env) > 0 && (j == nil || auth.May(s.id, auth.ReadValues, admit.Object(s.view, t.Partition, cmp.Or(j.Spec.Name, j.ID))) != nil) {
		shown := *spec
		shown.Env, own.Spec = maskedValues(spec.Env), &shown
	}
	return &out
}

// unmasked refuses a spec with values that were not shown to who took it from an
// answer.
func unmasked(s *api.JobSpec) error {
	for _, k := range slices.Sorted(maps.Keys(s.Env)) {
		if s.Env[k] == api.Masked {
			return api.FieldErrorf("env."+k, "is %s, which stands for a value that was not shown: give the value, or take the job from `mesita export` by somebody with the role deployer there", api.Masked)
		}
	}
	return nil
}
