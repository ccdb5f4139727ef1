package server

import (
	"cmp"
	"maps"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/server/exchange"
	"github.com/mesita/mesita/fsm"
)

// masked is an answer as the caller may see it: the values of environments are
// seen by who may deploy the job, and of other jobs only those that it sees. All answers pass here, as a job may be in one
// whose route is not about it: who sends a request again gets the job that it made.
func (c *call) masked(answer any) any {
	if c.ID.Role == api.RoleAdmin {
		return answer
	}
	view := c.Store.View()
	switch a := answer.(type) {
	case *api.Job:
		return c.maskedJob(view, a)
	case *api.Why:
		if sees := c.sight(view); a != nil && !sees.all {
			a.Hide(sees.job)
		}
	case api.PartitionChange:
		if sees := c.sight(view); !sees.all {
			a.Hide(sees.job)
		}
	case exchange.With:
		a.Value = c.masked(a.Value)
		return a
	case exchange.List:
		items := a.Items
		a.Items = func(yield func(any) bool) {
			items(func(item any) bool {
				if j, ok := item.(*api.Job); ok {
					item = c.maskedJob(view, j)
				}
				return yield(item)
			})
		}
		return a
	}
	return answer
}

func (c *call) maskedJob(v *fsm.View, j *api.Job) *api.Job {
	if j == nil || auth.May(c.ID, auth.ReadValues, object(v, j.Spec.Partition, cmp.Or(j.Spec.Name, j.ID))) == nil {
		return j
	}
	out := *j
	out.Spec = maskedSpec(j.Spec)
	out.History = slices.Clone(j.History)
	for i := range out.History {
		out.History[i].Spec = maskedSpec(out.History[i].Spec)
	}
	return &out
}

func maskedSpec(s *api.JobSpec) *api.JobSpec {
	if s == nil || len(s.Env) == 0 {
		return s
	}
	out := *s
	out.Env = maps.Clone(s.Env)
	for k := range out.Env {
		out.Env[k] = api.Masked
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
