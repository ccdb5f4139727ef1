package foresee

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// queue is a list of what waits as the leader's engine would make it.
func (w *world) queue(q *Queues) (rows []*api.Queued) {
	w.t.Helper()
	_, all, err := q.List(context.Background(), w.View)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	waits := 0
	for _, row := range all {
		rows = append(rows, row())
		waits += rows[len(rows)-1].Count
	}
	for p := range w.View().Partitions() {
		waits -= w.View().Usage(p.Path).Pending
	}
	if waits != 0 {
		w.t.Fatalf("the rows have %d more tasks than wait by the sums of partitions", waits)
	}
	return rows
}

// Each job of the queue has what keeps it waiting, and when it starts as far as that
// is known: the first one has a promise, those behind it what the time of those
// before them says.
func TestTheQueueSaysWhatForAndHowSure(t *testing.T) {
	w := newWorld(t, 1)
	w.do(&fsm.PartitionPut{Meta: meta(), Partition: &api.Partition{Path: "small", Limit: api.Amounts{CPUs: 500}}})
	submit := func(name, partition string, cpus api.MilliCPU, minutes int) {
		t.Helper()
		s := spec(name, partition, api.KindBatch, 1, cpus)
		s.Time = api.Duration(time.Duration(minutes) * time.Minute)
		w.do(&fsm.JobCreate{Meta: meta(), Spec: s})
	}
	submit("runs", "default", 3000, 5)
	w.settle()
	for _, j := range []struct {
		name    string
		cpus    api.MilliCPU
		minutes int
	}{{"first", 3000, 10}, {"second", 3500, 0}, {"third", 3500, 10}, {"huge", 9000, 0}} {
		submit(j.name, "default", j.cpus, j.minutes)
	}
	submit("limited", "small", 700, 1)
	submit("held", "default", 100, 1)
	w.do(&fsm.JobHold{Meta: meta(), ID: "held"})
	w.settle()
	rows := w.queue(NewQueues(w.jobs().Planner))
	want := []struct {
		job    string
		kind   api.ObstacleKind
		starts time.Duration
		sure   api.Sure
	}{
		{"first", api.ObstacleFull, 5 * time.Minute, api.SurePromised}, {"second", api.ObstacleFull, 15 * time.Minute, api.SureLimits},
		{"third", api.ObstacleFull, 0, api.SureNot}, {"limited", api.ObstacleLimit, 0, api.SureNot}, {"huge", api.ObstacleNever, 0, api.SureNot}, {"held", api.ObstacleOnHold, 0, api.SureNot},
	}
	if len(rows) != len(want) {
		t.Fatalf("%d rows", len(rows))
	}
	for i, x := range want {
		q := rows[i]
		if q.Job != x.job || q.Position != i+1 || q.Obstacle.Kind != x.kind || q.Sure != x.sure || q.Reason == "" || x.starts == 0 != q.Estimate.IsZero() || x.starts > 0 && !q.Estimate.Equal(now.Add(x.starts)) {
			t.Errorf("%+v, not %+v", *q, x)
		}
	}
}

// Where enough run the queue says so of all that wait for it, also of those that are
// not even tried, and when one of those that run has ended.
func TestTheQueueSaysWhereEnoughRun(t *testing.T) {
	w := newWorld(t, 1)
	w.do(&fsm.PartitionPut{Meta: meta(), Partition: &api.Partition{Path: "p", TaskRules: api.TaskRules{MaxRunning: 1}}})
	w.do(&fsm.PartitionPut{Meta: meta(), Partition: &api.Partition{Path: "q", TaskRules: api.TaskRules{MaxRunningPerUser: 1}}})
	for _, name := range []string{"a1", "b1", "a2", "b2", "a3", "b3"} {
		s := spec(name, map[byte]string{'a': "p", 'b': "q"}[name[0]], api.KindBatch, 1, 100)
		s.Time = api.Duration(5 * time.Minute)
		w.do(&fsm.JobCreate{Meta: meta(), Spec: s})
	}
	w.settle()
	rows := w.queue(NewQueues(w.jobs().Planner))
	if len(rows) != 4 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, r := range rows {
		if o := r.Obstacle; o.Kind != api.ObstacleRunning || o.Partition != r.Partition || o.PerUser != (r.Partition == "q") || o.Most != 1 || o.Running != 1 {
			t.Errorf("%s: %+v", r.Job, o)
		}
		at := now.Add(5 * time.Minute)
		if r.Job[1] == '3' {
			at = now.Add(10 * time.Minute)
		}
		if !r.Estimate.Equal(at) || r.Sure != api.SureLimits {
			t.Errorf("%s: %s, %s", r.Job, r.Estimate, r.Sure)
		}
	}
}

// Who asks while nothing changes gets the list that was made for others; a change
// makes it worthless, and so does a while.
func TestOneListIsMadeForAll(t *testing.T) {
	w := newWorld(t, 1)
	clock, made := now, 0
	q := NewQueues(scheduler.Planner{Now: func() time.Time { return clock }, Begin: func(v *fsm.View) scheduler.Round {
		made++
		return begin(v)
	}})
	asks := func(why string, anew bool) {
		t.Helper()
		before := made
		w.queue(q)
		if did := made > before; did != anew {
			t.Errorf("%s: a list was made: %v", why, did)
		}
	}
	w.do(&fsm.JobCreate{Meta: meta(), Spec: spec("web", "default", api.KindBatch, 2, 3000)})
	asks("the first", true)
	asks("the same again", false)
	w.do(&fsm.JobCreate{Meta: meta(), Spec: spec("more", "default", api.KindBatch, 2, 3000)})
	asks("something changed", true)
	asks("nothing changed", false)
	clock = clock.Add(fresh)
	asks("it is old", true)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	w.do(&fsm.JobCreate{Meta: meta(), Spec: spec("third", "default", api.KindBatch, 2, 3000)})
	if _, _, err := q.List(gone, w.View); !errors.Is(err, context.Canceled) {
		t.Errorf("who went away is told %v", err)
	}
}

// Over a long backlog a limit, or a bound of what runs, says how much of all that is
// passed is of its partition, and does not put that at the end: what runs below it
// ends, too.
func TestALimitHasItsPartOfALongBacklog(t *testing.T) {
	for name, small := range map[string]*api.Partition{
		"limit":        {Limit: api.Amounts{CPUs: 1000}},
		"what runs":    {TaskRules: api.TaskRules{MaxRunning: 1}},
		"of each user": {TaskRules: api.TaskRules{MaxRunningPerUser: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			small.Path = "small"
			w.do(&fsm.PartitionPut{Meta: meta(), Partition: small})
			for _, j := range []struct {
				partition string
				tasks     int
			}{{"default", 4}, {"default", 30}, {"small", 10}} {
				w.do(&fsm.JobCreate{Meta: meta(), Spec: spec("", j.partition, api.KindBatch, j.tasks, 1000)})
				w.settle()
			}
			order := w.order(func(j *api.Job) string { return j.Spec.Partition })
			if len(order) != 40 {
				t.Fatalf("%d tasks: %v", len(order), order)
			}
			for i := 0; i < len(order); i += 4 { // as many as the node has room for
				if n := count(order[i:i+4], "small"); n != 1 {
					t.Errorf("of tasks %d to %d are %d of the partition with room for one: %v", i, i+3, n, order)
				}
			}
		})
	}
}

// Where it is bounded how many tasks of one user run, users continue beside each other
// for as long as both have some, whoever has the whole beginning of the queue, and
// also where nothing else is in the way; who is not bounded is not held up.
func TestABoundOfEachUserLetsTheOthersPass(t *testing.T) {
	for _, policy := range []api.Policy{api.PolicyFIFO, api.PolicySJF, api.PolicyPriority, api.PolicyFair} {
		t.Run(string(policy), func(t *testing.T) {
			w := newWorld(t, 1)
			w.do(&fsm.PartitionPut{Meta: meta(), Partition: &api.Partition{Path: "p", Policy: policy, TaskRules: api.TaskRules{MaxRunningPerUser: 1}}})
			for i := range 12 {
				of := meta()
				of.Actor = []string{"first", "second"}[i/6]
				w.do(&fsm.JobCreate{Meta: of, Spec: spec("", "p", api.KindBatch, 2, 1000)})
			}
			wide := spec("", "p", api.KindBatch, 0, 100)
			wide.Array, wide.Gang = "", 2
			w.do(&fsm.JobCreate{Meta: meta(), Spec: wide})
			w.settle()
			order := w.order(func(j *api.Job) string { return j.Actor })
			if len(order) != 24 || count(order[22:], meta().Actor) != 2 {
				t.Fatalf("%d tasks, and a gang that may never run is not last: %v", len(order), order)
			}
			for i := 0; i < 22; i += 2 { // one of each runs
				if n := count(order[i:i+2], "first"); n != 1 {
					t.Errorf("of tasks %d and %d are %d of one user: %v", i, i+1, n, order)
				}
			}
		})
	}
}

// order is what waits as it is served as room comes, a word for each task. It is the same
// if it is read bit by bit.
func (w *world) order(word func(*api.Job) string) (out []string) {
	var bits []string
	read := func(to *[]string, goesOn bool) func(scheduler.Place) bool {
		return func(p scheduler.Place) bool {
			for range p.Tasks {
				*to = append(*to, word(p.Job))
			}
			return goesOn
		}
	}
	w.jobs().Engine(w.View()).InOrder(now).Continue(read(&out, true))
	for o := w.jobs().Engine(w.View()).InOrder(now); o.Continue(read(&bits, false)); {
	}
	if !slices.Equal(out, bits) {
		w.t.Fatalf("bit by bit the order is %v, and not %v", bits, out)
	}
	return out
}

func count(in []string, what string) (n int) {
	for _, s := range in {
		if s == what {
			n++
		}
	}
	return n
}
