package fsm

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/draw"
)

// history is a random one of weeks, with a recount of it from the events, and
// from what nodes reported, that knows nothing of rows.
type history struct {
	*testing.T
	*generator
	s     *Store
	log   []Entry
	event uint64
	used  *api.TaskUse // of the end that is reported now

	jobs   map[string]*api.Job  // as they were before the last command
	since  map[string]time.Time // by attempt that runs: from when on it is not counted yet
	why    map[string]api.Reason
	began  map[string]bool      // by attempt: its start was counted
	ended  map[string]time.Time // by task: when its attempt before did
	counts map[accountKey]*api.Account
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{T: t, generator: newGenerator(seed), s: NewStore(nil), jobs: map[string]*api.Job{}, since: map[string]time.Time{},
		why: map[string]api.Reason{}, began: map[string]bool{}, ended: map[string]time.Time{}, counts: map[accountKey]*api.Account{}}
	h.apply(testInit())
	h.apply(&TokenCreate{Meta: h.meta(), Token: &api.Token{ID: "t1", Kind: api.TokenJoin, Hash: "h"}})
	h.apply(&PartitionPut{Meta: h.meta(), Partition: &api.Partition{Path: api.DefaultPartition, Notice: api.Duration(seed%2) * api.Duration(time.Minute)}})
	for i := range 4 {
		if i > 0 {
			h.apply(&NodeJoin{Meta: h.meta(), Token: "t1", Hash: "h", NodeID: nodeID(i), Name: fmt.Sprint("n", i)})
		}
		hello := testHello(64000)
		hello.Level = int(Newest)
		h.apply(&NodeHello{Meta: h.meta(), ID: nodeID(i), Hello: hello})
	}
	return h
}

// step runs a random command; days may have gone by.
func (h *history) step() {
	if h.IntN(8) == 0 {
		h.now = h.now.Add(time.Duration(h.IntN(40*3600_000)) * time.Millisecond)
	}
	c := h.work()
	switch c := c.(type) {
	case *JobCreate:
		c.Actor = []string{"alice", "bob", ""}[h.IntN(3)]
	case *TaskCreate, *TaskPlace, *TaskPreempt, *TaskLeave, *TaskThaw, *TaskStop, *JobScale, *JobUpdate:
	case *JobStop, *JobRemove:
		if h.IntN(4) > 0 {
			return
		}
	default: // which leaves no node to continue with
		return
	case *TaskReport:
		if h.used = nil; len(c.Statuses) > 0 {
			h.used = c.Statuses[0].Used
		}
	}
	if h.s.View().Allows(c) == nil {
		h.apply(c)
	}
}

// work makes a command as the generator does, or more often one that continues with
// what there is: most of its own come to nothing.
func (h *history) work() Command {
	v := h.s.View()
	var waits, holds []*api.Task
	for t := range v.Tasks() {
		if t.Pending() {
			waits = append(waits, t)
		} else if t.Holds() {
			holds = append(holds, t)
		}
	}
	k := h.IntN(12)
	switch {
	case k < 2 || k < 6 && len(waits) == 0 || len(holds) == 0 && len(waits) == 0:
		return h.command(v)
	case k < 6 || len(holds) == 0:
		c := &TaskPlace{Meta: h.meta()}
		for i, t := range waits {
			p := Placement{Job: t.Job, Index: t.Index, Attempt: t.Attempt, NodeID: nodeID(h.IntN(4)), Ports: map[string]int{}}
			need := t.Resources
			need.Ports = nil
			if spec := v.Job(t.Job).SpecOf(t.Version); spec != nil {
				for k, want := range spec.Ports {
					port := cmp.Or(want.Port, 20000+10*i+k)
					p.Ports[want.Name] = port
					need.Ports = append(need.Ports, api.Range{First: int64(port), Last: int64(port)})
				}
			}
			p.Resources = &need
			c.Placements = append(c.Placements, p)
		}
		return c
	}
	t := holds[h.IntN(len(holds))]
	victims := []Victim{{t.Job, t.Index, t.Attempt}}
	switch h.IntN(12) {
	case 0, 3:
		return &TaskPreempt{Meta: h.meta(), Victims: victims, Freeze: h.IntN(2) == 0, Cause: "test"}
	case 1:
		if t.Leaving() {
			return &TaskLeave{Meta: h.meta(), Victims: victims}
		}
		return &TaskThaw{Meta: h.meta(), Victims: victims}
	case 2:
		return &TaskStop{Meta: h.meta(), IDs: []string{t.ID}, Move: h.IntN(3) > 0, Reason: api.ReasonDrained}
	}
	s := api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: api.TaskRunning, PID: 100 + h.IntN(2), Time: h.now, Frozen: h.IntN(2) == 0}
	if h.IntN(2) == 0 {
		s.State = []api.TaskState{api.TaskFinished, api.TaskFailed, api.TaskKilled}[h.IntN(3)]
		if t.Started.IsZero() && h.IntN(3) > 0 { // it ran before anybody was told
			ran := min(h.now.Sub(t.Created), 20*24*time.Hour) // what was longer ago than is kept by job is in no row
			s.Started = new(h.now.Add(-ran * time.Duration(h.IntN(100)) / 100).Truncate(time.Millisecond))
		}
		if h.IntN(2) == 0 {
			s.Used = &api.TaskUse{CPUTime: h.Int64N(1e9), MemPeak: api.Bytes(h.Int64N(1 << 28))}
		}
	}
	return &TaskReport{Meta: h.meta(), Statuses: []api.TaskStatus{s}}
}

func (h *history) apply(c Command) {
	h.Helper()
	v := h.s.View()
	for j := range v.Jobs() {
		h.jobs[j.ID] = j
	}
	entry, err := Encode(c)
	if err != nil {
		h.Fatal(err)
	}
	e := Entry{uint64(len(h.log) + 1), entry}
	h.log = append(h.log, e)
	if _, err := h.s.Apply([]Entry{e}); err != nil {
		h.Fatal(err)
	}
	for _, e := range h.s.EventsBefore(math.MaxUint64, 200) {
		if e.Index > h.event && e.Task != nil {
			h.happened(e.Kind, e.Task)
		}
	}
	h.event = h.s.View().LastEvent()
}

func (h *history) happened(kind api.EventKind, t *api.Task) {
	attempt := fmt.Sprint(t.ID, "/", t.Attempt)
	from, began := h.since[attempt]
	switch {
	case kind == api.EventTaskCreated:
		delete(h.ended, t.ID)
	case kind == api.EventTaskRequeued:
		h.ended[t.ID] = t.Earlier[len(t.Earlier)-1].Ended
	case kind != api.EventTaskState || t.NodeID == "":
	case t.State.Final() && !began && (t.Started.IsZero() || h.began[attempt]):
		h.end(t, attempt, t.Ended)
	case t.State.Final() && !began: // that it ran was never told
		h.starts(t, attempt)
		h.end(t, attempt, t.Started)
	case t.State.Final():
		h.end(t, attempt, from)
	case t.State == api.TaskRunning && !began:
		h.starts(t, attempt)
		h.since[attempt] = t.Started
	case t.State == api.TaskRunning && !from.Equal(t.Started): // again, in its place
		again := *t
		again.FrozenFor = 0
		h.hold(&again, from, t.Started, nil)
		h.since[attempt] = t.Started
	}
	h.why[attempt] = t.Reason
}

func (h *history) starts(t *api.Task, attempt string) {
	h.began[attempt] = true
	waits := later(later(t.Created, h.ended[t.ID]), t.NotBefore) // a mended spec ends the delay
	h.on(t, t.Started, func(a *api.Account) {
		a.Starts++
		a.Waited += max(0, t.Started.Sub(waits).Milliseconds())
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// end counts the end of an attempt.
func (h *history) end(t *api.Task, attempt string, from time.Time) {
	j, used := h.jobs[t.Job], h.used
	delete(h.since, attempt)
	gave, gang := t.Reason == api.ReasonPreempted || h.why[attempt] == api.ReasonPreempted, t.Reason == api.ReasonGang || h.why[attempt] == api.ReasonGang
	own := t.Reason == api.ReasonTimeLimit || t.Reason == api.ReasonOOM || t.Reason == api.ReasonDiskFull
	moves := t.Desired == api.DesiredMove || t.Desired == api.DesiredLeave && !own
	done := t.State == api.TaskFinished && (!moves || j.Spec.Kind == api.KindBatch)
	asked := t.State == api.TaskKilled || t.Desired == api.DesiredStop && t.State != api.TaskFailed
	var lost func(*api.Account) *int64
	h.on(t, t.Ended, func(a *api.Account) {
		a.Attempts++
		switch {
		case done:
		case moves && gave:
			a.Preempted++
		case moves && !gang:
			a.Moved++
		case gang, !asked:
			a.Failed++
		}
	})
	switch {
	case done || j.Spec.Kind != api.KindBatch:
	case moves && gave:
		lost = func(a *api.Account) *int64 { return &a.LostPreempted }
	case moves && !gang:
		lost = func(a *api.Account) *int64 { return &a.LostMoved }
	case gang, !asked:
		lost = func(a *api.Account) *int64 { return &a.LostFailed }
	}
	if t.Reason == api.ReasonNodeLost {
		used = nil
	}
	h.hold(t, from, t.Ended, func(a *api.Account, cpu, mem int64, part func(int64) int64) {
		if lost != nil {
			*lost(a) += cpu
		}
		if used != nil {
			a.OfCPU += cpu
			a.UsedCPU += part(used.CPUTime)
			if used.MemPeak > 0 {
				a.OfMem += mem
				a.UsedMem += (int64(used.MemPeak) + 1<<20 - 1) >> 20 * (mem / max(1, int64(t.Resources.Mem>>20)))
			}
		}
	})
}

// hold counts what a task held from one time to another, day by day.
func (h *history) hold(t *api.Task, from, to time.Time, more func(a *api.Account, cpu, mem int64, part func(int64) int64)) {
	frozen := time.Duration(t.FrozenFor)
	if t.Frozen {
		frozen += to.Sub(t.FrozenAt)
	}
	thawed := from.Add(min(frozen, to.Sub(from)))
	for day := from.Truncate(24 * time.Hour); !day.After(to); day = day.AddDate(0, 0, 1) {
		b, e := later(from, day), day.AddDate(0, 0, 1)
		if e.After(to) {
			e = to
		}
		cpu := int64(t.Resources.CPUs) * max(0, e.Sub(later(b, thawed)).Milliseconds())
		mem := int64(t.Resources.Mem>>20) * e.Sub(b).Milliseconds()
		h.on(t, day, func(a *api.Account) {
			a.CPU += cpu
			a.Mem += mem
			if more != nil {
				more(a, cpu, mem, func(n int64) int64 {
					all := to.Sub(from).Milliseconds()
					if all == 0 {
						return n
					}
					return n*e.Sub(from).Milliseconds()/all - n*b.Sub(from).Milliseconds()/all
				})
			}
		})
	}
}

// on counts on one day.
func (h *history) on(t *api.Task, at time.Time, count func(*api.Account)) {
	j, day := h.jobs[t.Job], int64(at.Sub(time.Unix(0, 0))/(24*time.Hour))
	for _, k := range []accountKey{{Axis: ByShare, Day: day, Partition: t.Partition, Name: j.Owner()}, {Axis: ByNode, Day: day, Name: t.Node},
		{Axis: ByJob, Day: day, Partition: t.Partition, Name: j.ID}} {
		if h.counts[k] == nil {
			h.counts[k] = new(api.Account)
		}
		count(h.counts[k])
	}
}

// compare holds the report of some days against the recount.
func (h *history) compare(axis Axis, from, to int64) (attempts int64) {
	h.Helper()
	was := h.counts
	h.counts = map[accountKey]*api.Account{}
	for k, a := range was {
		h.counts[k] = new(*a)
	}
	defer func() { h.counts = was }()
	for task := range h.s.View().Tasks() { // what runs, until now
		if since, ok := h.since[fmt.Sprint(task.ID, "/", task.Attempt)]; ok {
			h.jobs[task.Job] = h.s.View().Job(task.Job)
			h.hold(task, since, h.now, nil)
		}
	}
	want := map[accountKey]*api.Account{}
	for k, a := range h.counts {
		if k.Axis != axis || k.Day < from || k.Day > to || *a == (api.Account{}) {
			continue
		}
		k.Day, k.Axis = 0, 0
		if want[k] == nil {
			want[k] = new(api.Account)
		}
		want[k].Add(a)
	}
	for _, a := range h.s.View().Accounts(axis, from, to, h.now) {
		k := accountKey{Partition: a.Partition, Name: a.Name}
		if w := want[k]; w == nil && a.Account != (api.Account{}) || w != nil && *w != a.Account {
			h.Fatalf("index %d, axis %d, days %d to %d, %s %q:\n got %+v\nwant %+v", h.s.View().Index(), axis, from, to, a.Partition, a.Name, a.Account, w)
		}
		delete(want, k)
		attempts += a.Attempts
	}
	for k, a := range want {
		h.Fatalf("index %d, axis %d: %s %q is missing: %+v", h.s.View().Index(), axis, k.Partition, k.Name, a)
	}
	return attempts
}

// What the report has is what a slow recount of all events has, by each axis and
// for any days, while attempts of any number wait to be added up. A state that
// went through a snapshot has the same.
func TestTheReportIsARecount(t *testing.T) {
	var seen api.Account
	for seed := range uint64(2) {
		h := newHistory(t, draw.Seed(t)*100+seed)
		var other *Store
		begin := Day(h.now)
		for i := range 4000 {
			h.step()
			if i == 1700 { // some wait
				other = NewStore(nil)
				if err := other.Restore(bytes.NewReader(snapshotBytes(t, h.s))); err != nil {
					t.Fatal(err)
				}
			}
			if i%700 == 699 { // when that is done makes no difference
				h.s.mu.Lock()
				(&tx{tables: &h.s.t}).settle()
				h.s.publish()
				h.s.mu.Unlock()
			}
			if i%100 == 99 {
				from := begin + h.Int64N(Day(h.now)-begin+1)
				h.compare(Axis(h.IntN(int(axisCount))), from, from+h.Int64N(20))
			}
		}
		if other.Apply(h.log); !bytes.Equal(snapshotBytes(t, other), snapshotBytes(t, h.s)) {
			t.Error("a state that went through a snapshot is another")
		}
		if len(h.s.t.accounts.open) == len(other.t.accounts.open) {
			t.Error("both have the same to add up: nothing is shown")
		}
		for axis := range axisCount {
			if n := h.compare(axis, 0, Day(h.now)); n < 50 {
				t.Errorf("%d attempts ended: too few to show anything", n)
			}
		}
		for _, a := range h.counts {
			seen.Add(a)
		}
	}
	for i, n := range []int64{seen.Failed, seen.Preempted, seen.Moved, seen.Starts, seen.Waited, seen.LostFailed, seen.LostPreempted, seen.LostMoved, seen.UsedCPU, seen.UsedMem} {
		if n == 0 && draw.Seed(t) == 1 { // others may see less
			t.Errorf("count %d never was", i)
		}
	}
}

// A day has a bounded number of rows for each axis, and what is beyond is with the
// others; days that are no longer kept are removed by Forget alone.
func TestTheReportIsBounded(t *testing.T) {
	h := newHistory(t, 1)
	today := Day(h.now)
	ends := func(n int, job string, at time.Time) {
		h.s.mu.Lock()
		defer h.s.mu.Unlock()
		x := &tx{tables: &h.s.t, Meta: Meta{At: at}}
		for i := range n {
			x.account(run{partition: "p", user: "u", node: "n", job: fmt.Sprint(job, i), begin: at.UnixMilli(), end: at.UnixMilli() + 1000, cpus: 1000, waited: -1, outcome: ends})
		}
		h.s.publish()
	}
	most := axes[ByJob].rows
	ends(most+50, "a", h.now)
	all := h.s.View().Accounts(ByJob, today, today, h.now)
	others := 0
	for _, a := range all {
		if a.Others {
			others += int(a.Attempts)
		}
	}
	if len(all) != most+1 || others != 50 {
		t.Errorf("%d rows, %d attempts of others", len(all), others)
	}
	if c := h.s.View().TooOld(Meta{At: h.now.AddDate(0, 0, int(axes[ByJob].days)-1)}); c != nil {
		t.Errorf("within the days that are kept: %+v", c)
	}
	for _, d := range []struct{ after, jobs, users int }{{int(axes[ByJob].days), 0, 1}, {int(axes[ByShare].days), 0, 0}} {
		at := h.now.AddDate(0, 0, d.after)
		h.apply(h.s.View().TooOld(Meta{At: at}))
		v := h.s.View()
		if jobs, users := v.Accounts(ByJob, today, today, at), v.Accounts(ByShare, today, today, at); len(jobs) != d.jobs || len(users) != d.users {
			t.Errorf("after %d days: %d jobs and %d users", d.after, len(jobs), len(users))
		}
		if v.TooOld(Meta{At: at}) != nil {
			t.Error("there is more to forget")
		}
	}
}

// Whatever the clock of a node says, an attempt lies between the making of its
// task and the command that told of its end, and is as long as it was if that is
// possible.
func TestClocksOfNodesMoveNoUse(t *testing.T) {
	for _, c := range []struct{ begin, end, first, last, wantBegin, wantEnd int64 }{
		{20, 30, 10, 40, 20, 30}, // right
		{50, 60, 10, 40, 30, 40}, // ahead
		{-9, 1, 10, 40, 10, 20},  // behind
		{0, 90, 10, 40, 10, 40},  // too long
		{30, 20, 10, 40, 20, 20}, // backwards
		{0, 8, 40, 10, 0, 8},     // the leader's was ahead when the task was made
	} {
		if b, e := within(c.begin, c.end, c.first, c.last); b != c.wantBegin || e != c.wantEnd {
			t.Errorf("%+v: %d to %d", c, b, e)
		}
	}
}

// Nothing is counted below the level, so that older voters hold the same.
func TestNothingIsCountedBelowTheLevel(t *testing.T) {
	for _, level := range []Level{3, 4} {
		w := newWorld(t, level, 1)
		id := w.batch(1, 0) + ".0"
		w.place(id, 0)
		w.report(id, api.TaskRunning, api.ReasonNone)
		w.now = w.now.Add(time.Hour)
		w.report(id, api.TaskFinished, api.ReasonExited)
		got := w.View().Accounts(ByJob, 0, math.MaxInt32, w.now)
		if (len(got) > 0) != (level >= 4) {
			t.Errorf("level %d: %v", level, got)
		}
		if len(got) > 0 && (got[0].CPU != 250*3600e3 || got[0].Mem != 64*3600e3 || got[0].Attempts != 1) {
			t.Errorf("%+v", got[0])
		}
	}
}

// What is lost with a node is lost to a failure.
func TestWorkIsLostWithItsNode(t *testing.T) {
	w := newWorld(t, Newest, 2)
	id := w.batch(1, 0) + ".0"
	w.place(id, 1)
	w.report(id, api.TaskRunning, api.ReasonNone)
	w.now = w.now.Add(time.Hour)
	w.do(&NodeState{Meta: w.at(), ID: nodeID(1), State: api.NodeDown, Since: w.View().Node(nodeID(1)).Since, Reason: "no answer"})
	got := w.View().Accounts(ByNode, 0, math.MaxInt32, w.now)
	if len(got) != 1 || got[0].Name != "n1" || got[0].Failed != 1 || got[0].LostFailed != 250*3600e3 || got[0].CPU != got[0].LostFailed {
		t.Errorf("%+v", got)
	}
}
