package fsm

import (
	"slices"

	"github.com/mesita/mesita/api"
)

// Tally is how many tasks are on nodes below the partitions that bound that, in all
// and of each user. What is told to end counts until it has. The scheduler and apply
// go by the same one. Nil is that of a cluster in which nobody bounds it.
type Tally struct {
	whose func(*api.Job) string
	above map[string][]*tallied // of a partition: itself and those above it that bound it, the nearest first
}

type tallied struct {
	part  *api.Partition
	n     int
	users map[string]int
}

// Tally counts what is on nodes now.
func (v *View) Tally() *Tally { return v.t.tally(func(*api.Job) bool { return true }) }

// TallyLasting counts of that what has no end.
func (v *View) TallyLasting() *Tally {
	return v.t.tally(func(j *api.Job) bool { return j.Spec.Kind != api.KindBatch })
}

func (t *tables) tally(of func(*api.Job) bool) *Tally {
	if !t.does(RunningRules) {
		return nil
	}
	c := &Tally{whose: t.owner, above: map[string][]*tallied{}}
	for p := range t.partitions.all() { // those above are before those below
		above := c.above[p.Parent()]
		if p.MaxRunning > 0 || p.MaxRunningPerUser > 0 {
			above = append([]*tallied{{part: p, users: map[string]int{}}}, above...)
		}
		if len(above) > 0 {
			c.above[p.Path] = above
		}
	}
	if len(c.above) == 0 {
		return nil
	}
	var j *api.Job // the tasks of a job on a node follow each other
	t.nodeTasks.Ascend(func(task *api.Task) bool {
		if len(c.above[task.Partition]) == 0 {
			return true
		}
		if j == nil || j.ID != task.Job {
			j = t.jobs.get(&api.Job{ID: task.Job})
		}
		if j != nil && of(j) {
			c.Add(j, 1)
		}
		return true
	})
	return c
}

// owner is the user that a job is charged to. Below the level root of each node is one.
func (t *tables) owner(j *api.Job) string {
	if !t.does(OneRoot) {
		return j.Actor
	}
	return j.Owner()
}

// Owner is the user of a job by whom it counts.
func (c *Tally) Owner(j *api.Job) string {
	if c == nil {
		return j.Owner()
	}
	return c.whose(j)
}

// PerUser reports whether it is bounded how many tasks of one user run in a partition.
func (c *Tally) PerUser(path string) bool {
	return c != nil && slices.ContainsFunc(c.above[path], func(at *tallied) bool { return at.part.MaxRunningPerUser > 0 })
}

// Add counts so many more tasks of a job.
func (c *Tally) Add(j *api.Job, n int) {
	if c == nil {
		return
	}
	for _, at := range c.above[j.Spec.Partition] {
		at.n += n
		at.users[c.whose(j)] += n
	}
}

// Counts reports whether what runs of a job counts anywhere.
func (c *Tally) Counts(j *api.Job) bool { return c != nil && len(c.above[j.Spec.Partition]) > 0 }

// RunningBar is a rule by which no more tasks of a job may start.
type RunningBar struct {
	Partition string
	PerUser   bool // it counts those of the job's user
	Most, Now int
}

// Bars are the rules by which so many more tasks of a job may not start, those of the
// nearest partition first.
func (c *Tally) Bars(j *api.Job, more int) (out []RunningBar) {
	if c == nil {
		return nil
	}
	for _, at := range c.above[j.Spec.Partition] {
		if most := at.part.MaxRunning; most > 0 && at.n+more > most {
			out = append(out, RunningBar{Partition: at.part.Path, Most: most, Now: at.n})
		}
		if most, n := at.part.MaxRunningPerUser, at.users[c.whose(j)]; most > 0 && n+more > most {
			out = append(out, RunningBar{Partition: at.part.Path, PerUser: true, Most: most, Now: n})
		}
	}
	return out
}

// mayRun reports whether so many more tasks of a job may start now.
func (x *tx) mayRun(j *api.Job, more int) bool {
	if !x.does(RunningRules) {
		return true
	}
	if !x.placing.counted {
		x.placing.tally, x.placing.counted = x.tally(func(*api.Job) bool { return true }), true
	}
	return len(x.placing.tally.Bars(j, more)) == 0
}
