package scheduler

import (
	"math"
	"time"

	"github.com/google/btree"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/order"
	"github.com/mesita/mesita/fsm"
)

// entry is a job that has tasks waiting.
type entry struct {
	job   *api.Job
	seq   uint64  // of the job
	rank  float64 // by the partition's policy; the smallest goes first
	class *order.Class
}

func (e *entry) before(o *entry) bool {
	if e.rank != o.rank {
		return e.rank < o.rank
	}
	return e.seq < o.seq
}

type entries = btree.BTreeG[*entry]

// queue is the waiting jobs of one partition in the order of its policy.
type queue struct {
	part  *api.Partition
	order *entries            // nil with the fair policy, which
	users map[string]*entries // keeps one per user
	each  map[string]*entries // what is in order of each user, if what runs of one is bounded
	alike map[string]*alike   // nil unless the policy goes by run times
	size  int
}

// alike is the waiting jobs that run the same, and how long that was found to
// take when they were ranked.
type alike struct {
	learned time.Duration
	entries map[*entry]struct{}
}

func newQueue(part *api.Partition, perUser bool) *queue {
	q := &queue{part: part}
	if part.Policy == api.PolicyFair {
		q.users = map[string]*entries{}
	} else {
		q.order = newEntries()
		if perUser {
			q.each = map[string]*entries{}
		}
	}
	if part.Policy == api.PolicySJF || part.Policy == api.PolicySRTF {
		q.alike = map[string]*alike{}
	}
	return q
}

func newEntries() *entries { return btree.NewG(16, (*entry).before) }

// of is where a job stands among others.
func (q *queue) of(j *api.Job) *entries {
	if q.users == nil {
		return q.order
	}
	return ofUser(q.users, j)
}

func ofUser(all map[string]*entries, j *api.Job) *entries {
	user := j.Owner()
	t := all[user]
	if t == nil {
		t = newEntries()
		all[user] = t
	}
	return t
}

func (q *queue) insert(e *entry) {
	q.of(e.job).ReplaceOrInsert(e)
	if q.each != nil {
		ofUser(q.each, e.job).ReplaceOrInsert(e)
	}
}

func (q *queue) delete(e *entry) {
	if q.order != nil {
		q.order.Delete(e)
	}
	for _, all := range []map[string]*entries{q.users, q.each} {
		if all == nil {
			continue
		}
		t := ofUser(all, e.job)
		if t.Delete(e); t.Len() == 0 {
			delete(all, e.job.Owner())
		}
	}
}

// put ranks a job, and those that run the same; more is added to its rank.
func (q *queue) put(v *fsm.View, e *entry, more float64) {
	q.learn(v, e.job.Spec)
	e.rank = rank(q.part, v, e.job) + more
	q.insert(e)
	q.size++
	if q.alike == nil {
		return
	}
	key := fsm.RuntimeKey(e.job.Spec)
	a := q.alike[key]
	if a == nil {
		a = &alike{coarse(v.Learned(e.job.Spec)), map[*entry]struct{}{}}
		q.alike[key] = a
	}
	a.entries[e] = struct{}{}
}

// learn ranks the jobs that run the same as that spec anew, if by now it is
// known to take another time.
func (q *queue) learn(v *fsm.View, spec *api.JobSpec) {
	if q.alike == nil {
		return
	}
	a, d := q.alike[fsm.RuntimeKey(spec)], coarse(v.Learned(spec))
	if a == nil || a.learned == d {
		return
	}
	a.learned = d
	for e := range a.entries {
		q.delete(e)
		e.rank = rank(q.part, v, e.job)
		q.insert(e)
	}
}

func (q *queue) remove(e *entry) {
	q.delete(e)
	q.size--
	if q.alike != nil {
		key := fsm.RuntimeKey(e.job.Spec)
		if a := q.alike[key]; a != nil {
			if delete(a.entries, e); len(a.entries) == 0 {
				delete(q.alike, key)
			}
		}
	}
}

// unknown is the run time, in seconds, by which jobs are ordered of which nobody
// knows it: the longest there is.
const unknown = math.MaxInt64 / 1e9

// coarse rounds a run time to a sixth or so, as what was learned moves a little
// with each run.
func coarse(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(math.Exp2(math.Round(4*math.Log2(float64(d))) / 4))
}

// rank is a job's place by a policy, in seconds. A job that waits gains one step
// per aging time, and all gain at the same rate: so what counts is when it would
// have had none to gain, and a queue need not be sorted again as time passes. A
// step is one of priority, or half the run time: a job that takes 2ⁿ times as long
// as others is passed by those that come within n aging times, and by none after.
func rank(part *api.Partition, v *fsm.View, j *api.Job) float64 {
	switch part.Policy {
	case api.PolicySJF, api.PolicySRTF:
		d, steps := time.Duration(j.Spec.Time), math.Log2(unknown)
		if j.Spec.Kind == api.KindBatch {
			if l := coarse(v.Learned(j.Spec)); l > 0 && (d == 0 || l < d) {
				d = l
			}
		}
		if d > 0 {
			steps = math.Log2(d.Seconds())
		}
		return aged(part, j, steps)
	case api.PolicyPriority:
		return aged(part, j, -float64(j.Spec.Priority))
	}
	return 0
}

// aged is the time of a job's submission, later by so many steps.
func aged(part *api.Partition, j *api.Job, steps float64) float64 {
	return float64(j.Created.UnixNano())/1e9 + steps*time.Duration(part.Aging).Seconds()
}
