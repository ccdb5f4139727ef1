package fsm

import (
	"fmt"

	"github.com/mesita/mesita/api"
)

func frameworkID(i int) string { return fmt.Sprint("framework-", i) }

// framework makes a command about one of a few frameworks, which connect, take offers,
// acknowledge, lose their connection and are removed.
func (g *generator) framework(v *View) Command {
	id := frameworkID(g.IntN(3))
	f := v.Framework(id)
	session := fmt.Sprint("s", g.IntN(2))
	if f != nil && g.IntN(4) > 0 {
		session = f.Session
	}
	switch k := g.IntN(14); {
	case f == nil || !f.Connected && g.IntN(3) == 0 || k == 0:
		in := [][]string{{api.DefaultPartition}, {"ml"}, {api.DefaultPartition, "ml/train"}}[g.IntN(3)]
		return &FrameworkPut{Meta: g.user(), Connect: k > 0 || g.IntN(2) == 0, KeepOffers: g.IntN(2) == 0,
			Framework: &api.Framework{ID: id, Name: "Example Framework (Go)", Partitions: in, Session: session, Failover: api.Duration(g.IntN(2)) * 60e9}}
	case k == 1:
		return &FrameworkLeave{Meta: g.meta(), ID: id, Session: session}
	case k == 2 && g.IntN(6) == 0:
		return &FrameworkRemove{Meta: g.meta(), ID: id, Session: []string{"", session}[g.IntN(2)]}
	case k == 2 && g.IntN(2) == 0:
		return &FrameworkShutdown{Meta: g.meta(), Framework: id, NodeID: nodeID(g.IntN(4)), Executor: g.executorID()}
	case k == 3 && g.IntN(2) == 0:
		return g.executorWord(v, id)
	case k == 3:
		c := &FrameworkKill{Meta: g.meta(), Framework: id, Task: g.taskID()}
		if g.IntN(2) == 0 {
			c.Grace = new(api.Duration(g.IntN(5)))
		}
		return c
	case k < 7:
		c := &FrameworkAck{Meta: g.meta(), Framework: id}
		for n := range v.FrameworkNews(id) {
			c.Acks = append(c.Acks, Ack{n.Job, n.Index, n.Updates[min(len(n.Updates)-1, g.IntN(2))].ID})
		}
		return c
	case k < 10 && len(f.Partitions) > 0 && k == 7:
		return g.offerReserved(v, f)
	case k < 10 && len(f.Partitions) > 0:
		return &OfferMake{Meta: g.meta(), Offers: []*api.Offer{{ID: fmt.Sprint("o", g.IntN(5)), Framework: id, NodeID: nodeID(g.IntN(4)),
			Partition: f.Partitions[g.IntN(len(f.Partitions))], Resources: api.Resources{CPUs: 900, Mem: 96 << 20}}}}
	}
	c := &FrameworkAccept{Meta: g.meta(), Framework: id, Session: session}
	var node string
	for o := range v.Offers() {
		if o.Framework == id && (node == "" || node == o.NodeID) && g.IntN(3) > 0 || g.IntN(20) == 0 {
			node = o.NodeID
			c.Offers = append(c.Offers, o.ID)
		}
	}
	for range 1 + g.IntN(4) {
		l := FrameworkLaunch{Task: &api.FrameworkTask{ID: g.taskID(), Name: "example", Spec: testSpec(api.KindBatch, "", 1)},
			Resources: api.Resources{CPUs: api.MilliCPU(100 * (1 + g.IntN(4))), Mem: 16 << 20}}
		switch g.IntN(4) {
		case 0:
			l = hostedOf(l, g.executorID())
			if g.IntN(8) == 0 {
				l.Executor.Task.Digest = []byte("another")
			}
		case 1:
			l.Task.Group, l.Task.GroupExecutor = "group", "default"
		}
		c.Tasks = append(c.Tasks, l)
	}
	g.convert(v, c)
	return c
}

func (g *generator) executorID() string { return fmt.Sprint("e", g.IntN(2)) }

// hostedOf has an executor run a task.
func hostedOf(l FrameworkLaunch, id string) FrameworkLaunch {
	task := *l.Task
	task.Executor, task.Spec = id, hostedSpec()
	l.Task = &task
	l.Executor = &FrameworkExecutor{Task: &api.FrameworkTask{Name: id, Executor: id, IsExecutor: true, Spec: testSpec(api.KindBatch, "", 1), Info: []byte("info"), Digest: []byte(id)},
		Resources: api.Resources{CPUs: 50, Mem: 8 << 20}}
	return l
}

func hostedSpec() *api.JobSpec {
	s := &api.JobSpec{Kind: api.KindBatch}
	s.Normalize()
	return s
}

// executorWord is something that executors say of what they run, also twice, and of what
// has ended.
func (g *generator) executorWord(v *View, framework string) Command {
	c := &TaskReport{Meta: g.meta()}
	for t := range v.FrameworkTasks(framework) {
		if !t.Hosted() || g.IntN(2) == 0 {
			continue
		}
		id := fmt.Sprintf("update-%09d", g.IntN(4))
		c.Statuses = append(c.Statuses, api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: api.TaskState(g.IntN(int(api.TaskUnknown))), Time: c.At,
			Update: &api.ExecutorUpdate{ID: []byte(id), Status: make([]byte, g.IntN(2*api.MaxExecutorUpdate))}})
	}
	return c
}

func (g *generator) taskID() string { return fmt.Sprint("t", g.IntN(6)) }

// frameworks holds of a view: what frameworks have is theirs, and each index that follows
// from rows has what a look at all of them finds.
func frameworks(fatal func(string, ...any), v *View) {
	for o := range v.Offers() {
		if !v.Does(Frameworks) {
			break
		}
		if f := v.Framework(o.Framework); o.Framework != "" && f != nil && (!f.Connected || !f.In(o.Partition)) {
			fatal("index %d: offer %s is of framework %s, which takes none in %s", v.Index(), o.ID, o.Framework, o.Partition)
		}
	}
	active := map[string]string{}
	executors(fatal, v)
	use := map[string]api.PartitionUsage{}
	for o := range v.Offers() {
		if o.Framework != "" {
			u := use[useKey(o.Framework, o.Partition)]
			u.Offered = u.Offered.Add(charged(o.Whole()))
			use[useKey(o.Framework, o.Partition)] = u
		}
	}
	defer func() {
		rows := 0
		v.t.frameworkUsage.Ascend(func(r *usageRow) bool {
			rows++
			if want := use[r.path]; !r.Allocated.Equal(want.Allocated) || !r.Offered.Equal(want.Offered) {
				fatal("index %d: %q holds %s and is offered %s, not %s and %s", v.Index(), r.path, r.Allocated, r.Offered, want.Allocated, want.Offered)
			}
			return true
		})
		if rows != len(use) {
			fatal("index %d: %d sums of frameworks, and %d hold something", v.Index(), rows, len(use))
		}
	}()
	for t := range v.Tasks() {
		if t.Framework == nil {
			continue
		}
		if t.Holds() {
			u := use[useKey(t.Framework.Framework, t.Partition)]
			u.Allocated = u.Allocated.Add(charged(t.Held())).Add(charged(api.ReservedSum(t.Framework.Reserved)))
			use[useKey(t.Framework.Framework, t.Partition)] = u
		}
		j, f := v.Job(t.Job), v.Framework(t.Framework.Framework)
		if j.Framework != t.Framework.Framework || j.Spec.Kind != api.KindFramework || t.Pending() || t.Attempt != 1 {
			fatal("index %d: task %s of a framework is of job %+v, or tried again", v.Index(), t.ID, j)
		}
		if f != nil && !f.Ended.IsZero() && t.Desired != api.DesiredStop && !t.State.Final() {
			fatal("index %d: task %s runs on without its framework", v.Index(), t.ID)
		}
		if t.Framework.IsExecutor {
			continue
		}
		if last := v.FrameworkTask(t.Framework.Framework, t.Framework.ID); last == nil || !t.State.Final() && last.ID != t.ID {
			fatal("index %d: task %s is not what its framework has by its id %s", v.Index(), t.ID, t.Framework.ID)
		}
		if key := t.Framework.Framework + "/" + t.Framework.ID; !t.State.Final() {
			if other := active[key]; other != "" {
				fatal("index %d: tasks %s and %s have one id", v.Index(), t.ID, other)
			}
			active[key] = t.ID
		}
	}
	sums := map[string]int{}
	for r := range v.t.news.all() {
		sums[r.Framework] += r.size()
	}
	v.t.newsUse.Ascend(func(r *usageRow) bool {
		if r.news != sums[r.path] {
			fatal("index %d: %d bytes wait to be acknowledged by framework %s, the sum says %d", v.Index(), sums[r.path], r.path, r.news)
		}
		delete(sums, r.path)
		return true
	})
	if len(sums) > 0 {
		fatal("index %d: what waits to be acknowledged has no sum: %v", v.Index(), sums)
	}
	all := 0
	for f := range v.Frameworks() {
		if f.Ended.IsZero() {
			all++
		}
		for n := range v.FrameworkNews(f.ID) {
			if len(n.Updates) == 0 || len(n.Updates) > api.MaxFrameworkUpdates || !f.Ended.IsZero() {
				fatal("index %d: framework %s has %d updates of task %s", v.Index(), f.ID, len(n.Updates), n.Task)
			}
			if t := v.TaskOf(n.Job, n.Index); t == nil || n.Updates[len(n.Updates)-1].State != t.State {
				fatal("index %d: the last update of task %s.%d is not its state", v.Index(), n.Job, n.Index)
			}
			size := 0
			for _, u := range n.Updates {
				size += len(u.Status)
			}
			if size > api.MaxTaskUpdates+api.MaxExecutorUpdate {
				fatal("index %d: %d bytes are remembered of what an executor said of task %s", v.Index(), size, n.Task)
			}
		}
	}
	if all != v.FrameworkCount() {
		fatal("index %d: %d frameworks, the count says %d", v.Index(), all, v.FrameworkCount())
	}
}

// executors holds of a view: on a node an executor is there once, what runs with one ends
// with it, and of a group nothing stays wanted once one of it did not finish.
func executors(fatal func(string, ...any), v *View) {
	live, broken := map[string]*api.Task{}, map[string]bool{}
	key := func(t *api.Task) string { return t.Framework.Framework + "/" + t.NodeID + "/" + t.Framework.Executor }
	count := 0
	for t := range v.Tasks() {
		if t.Framework == nil {
			continue
		}
		if t.Framework.Group != "" && t.State.Final() && t.State != api.TaskFinished {
			broken[t.Framework.Group] = true
		}
		if t.State.Final() || t.Framework.Executor == "" {
			continue
		}
		count++
		if !t.Framework.IsExecutor {
			continue
		}
		if other := live[key(t)]; other != nil {
			fatal("index %d: tasks %s and %s are one executor", v.Index(), t.ID, other.ID)
		}
		live[key(t)] = t
		if got := v.Executor(t.Framework.Framework, t.NodeID, t.Framework.Executor); got != t {
			fatal("index %d: executor %s is not found", v.Index(), t.ID)
		}
	}
	if n := v.t.executors.Len(); n != count {
		fatal("index %d: %d executors and tasks of them, the index has %d", v.Index(), count, n)
	}
	for t := range v.Tasks() {
		switch {
		case t.Framework == nil || t.State.Final():
		case t.Hosted() && live[key(t)] == nil:
			fatal("index %d: task %s runs on without its executor", v.Index(), t.ID)
		case broken[t.Framework.Group] && t.Desired != api.DesiredStop:
			fatal("index %d: task %s is wanted, and one of its group did not finish", v.Index(), t.ID)
		}
	}
}
