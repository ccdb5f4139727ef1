package fsm

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

// This file has what an attempt comes to in the accounts: its time is that of its
// node's clock, as far as the times of commands bear it out, and falls to the days
// in which it was.

const msOfDay = 24 * 60 * 60 * 1000

// dayOf is the day of a time in milliseconds since 1970 began.
func dayOf(ms int64) int64 {
	day := ms / msOfDay
	if ms%msOfDay < 0 {
		day--
	}
	return day
}

// Day is the day of a time in UTC, since 1970 began.
func Day(t time.Time) int64 { return dayOf(t.UnixMilli()) }

// outcome is how an attempt ended, to the accounts.
type outcome uint8

const (
	goesOn outcome = iota // it did not: it continues, or begins anew in its place
	ends                  // by itself, or as was asked for
	fails
	gaveWay
	leaves
)

// run is an attempt, or part of one, that was under way.
type run struct {
	partition, user, node, job string

	begin, end int64        // milliseconds since 1970 began
	frozen     int64        // milliseconds of those, as if they were the first
	cpus       api.MilliCPU // held
	mem        int64        // MiB, rounded up
	waited     int64        // milliseconds before begin; below 0: it is not a start
	outcome    outcome
	lost       bool // what it did until then is to be done again
	used       api.TaskUse
	measured   bool
}

// ran is what an attempt of a user came to by the time of a command. began is when it
// came to run, or from when on it is not in the accounts yet.
func ran(j *api.Job, user string, t *api.Task, now time.Time) run {
	began, ended := t.Started, now
	if t.Accounted != nil {
		began = *t.Accounted
	}
	if t.State.Final() {
		ended = t.Ended
	}
	r := run{partition: t.Partition, user: user, node: t.Node, job: accountName(j), waited: -1,
		cpus: t.Resources.CPUs, mem: mebibytes(t.Resources.Mem)}
	if t.Started.IsZero() {
		began = ended
	}
	r.begin, r.end = within(began.UnixMilli(), ended.UnixMilli(), t.Created.UnixMilli(), now.UnixMilli())
	frozen := time.Duration(t.FrozenFor)
	if t.Frozen {
		frozen += max(0, ended.Sub(t.FrozenAt))
	}
	r.frozen = min(frozen.Milliseconds(), r.end-r.begin)
	if t.Accounted == nil && !t.Started.IsZero() {
		since := t.Created
		if n := len(t.Earlier); n > 0 {
			since = t.Earlier[n-1].Ended
		}
		if t.NotBefore.After(since) {
			since = t.NotBefore
		}
		r.waited = max(0, r.begin-since.UnixMilli())
	}
	return r
}

// accountName is what the runs of one program have in common: a batch may be
// submitted again, by its name.
func accountName(j *api.Job) string {
	if j.Spec.Kind == api.KindBatch {
		return cmp.Or(j.Spec.Name, j.ID)
	}
	return j.ID
}

func mebibytes(b api.Bytes) int64 { return (max(0, int64(b)) + 1<<20 - 1) >> 20 }

// within is a span moved to where it can have been, and cut only where that is
// shorter: clocks of nodes may be off.
func within(begin, end, first, last int64) (int64, int64) {
	took := max(0, end-begin)
	if end > last {
		end = last
	}
	begin = end - took
	if begin < first && first <= last { // or else it is the clock of who wrote the first that is off
		begin, end = first, min(first+took, last)
	}
	return begin, end
}

// accountEnd notes the end of an attempt that was placed.
func (x *tx) accountEnd(j *api.Job, old, t *api.Task, used *api.TaskUse) {
	if !x.does(Accounts) || t.NodeID == "" {
		return
	}
	r := ran(j, x.owner(j), t, x.At)
	r.outcome = x.outcomeOf(j, old, t)
	r.lost = j.Spec.Kind == api.KindBatch && r.outcome > ends
	if used != nil {
		r.used, r.measured = *used, true
	}
	x.account(r)
}

// outcomeOf tells what became of an attempt.
func (x *tx) outcomeOf(j *api.Job, old, t *api.Task) outcome {
	switch {
	case t.State == api.TaskFinished && (!t.Moves() || x.finishedFirst(j, t)):
		return ends
	case t.Moves() && (t.Reason == api.ReasonPreempted || old.Reason == api.ReasonPreempted):
		return gaveWay
	case t.Reason == api.ReasonGang || old.Reason == api.ReasonGang:
		return fails
	case t.Moves():
		return leaves
	case stopped(t):
		return ends
	}
	return fails
}

// accountRestart notes what a task did before it was started again in its place,
// within the same attempt.
func (x *tx) accountRestart(old, t *api.Task) {
	j := x.jobAt(t.Job)
	if !x.does(Accounts) || j == nil || t.NodeID == "" {
		return
	}
	until := *old
	until.State, until.Ended, until.FrozenFor = api.TaskFailed, t.Started, 0
	x.account(ran(j, x.owner(j), &until, x.At))
	at := t.Started // of its own, lest the whole task before is kept
	t.Accounted = &at
}

// book adds a run to the days in which it was, by each axis.
func (r *run) book(s *sums) {
	last := dayOf(r.end)
	for day := dayOf(max(r.begin, (last-axes[ByShare].days+1)*msOfDay)); day <= last; day++ {
		a := r.on(day*msOfDay, (day+1)*msOfDay)
		for axis := range axisCount {
			if day > last-axes[axis].days {
				s.of(r.key(axis, day)).Add(&a)
			}
		}
	}
}

func (r *run) key(axis Axis, day int64) accountKey {
	k := accountKey{Axis: axis, Day: day}
	switch axis {
	case ByShare:
		k.Partition, k.Name = r.partition, r.user
	case ByNode:
		k.Name = r.node
	case ByJob:
		k.Partition, k.Name = r.partition, r.job
	}
	return k
}

// on is what of a run was from one time to another. It began at its begin, and
// ended at its end.
func (r *run) on(first, last int64) (a api.Account) {
	begin, end := max(r.begin, first), min(r.end, last)
	a.CPU = mulDiv(int64(r.cpus), max(0, end-max(begin, r.begin+r.frozen)), 1)
	a.Mem = mulDiv(r.mem, end-begin, 1)
	if r.waited >= 0 && r.begin >= first {
		a.Starts, a.Waited = 1, r.waited
	}
	if r.measured {
		r.measure(&a, begin, end)
	}
	if r.end < last && r.outcome != goesOn {
		r.count(&a)
	}
	switch {
	case !r.lost:
	case r.outcome == fails:
		a.LostFailed = a.CPU
	case r.outcome == gaveWay:
		a.LostPreempted = a.CPU
	case r.outcome == leaves:
		a.LostMoved = a.CPU
	}
	return a
}

// count counts the end.
func (r *run) count(a *api.Account) {
	a.Attempts = 1
	switch r.outcome {
	case fails:
		a.Failed = 1
	case gaveWay:
		a.Preempted = 1
	case leaves:
		a.Moved = 1
	}
}

// measure gives a part of the run its part of what was used.
func (r *run) measure(a *api.Account, begin, end int64) {
	a.OfCPU = a.CPU
	a.UsedCPU = r.usedUntil(end) - r.usedUntil(begin)
	if end == r.end && begin == r.begin {
		a.UsedCPU = max(0, r.used.CPUTime)
	}
	if r.used.MemPeak > 0 {
		a.OfMem, a.UsedMem = a.Mem, mulDiv(mebibytes(r.used.MemPeak), end-begin, 1)
	}
}

// usedUntil is what of the CPU time was used until then, if evenly.
func (r *run) usedUntil(at int64) int64 {
	if r.end == r.begin {
		return 0
	}
	return mulDiv(max(0, r.used.CPUTime), at-r.begin, r.end-r.begin)
}

// Account is what the attempts of one share, node or job came to, those that run
// now with what they did so far.
type Account struct {
	Partition, Name string
	Others          bool
	Running         int64
	api.Account
}

// Accounts sums up by an axis what was from one day to another, at a time, in the
// order of the keys. What runs is counted until then.
func (v *View) Accounts(axis Axis, from, to int64, now time.Time) []*Account {
	all := map[accountKey]*Account{}
	of := func(k accountKey) *Account {
		k.Day = 0
		if k.Axis == ByShare {
			k.Name = api.UserOf(k.Name) // rows of before have root of each node
		}
		if all[k] == nil {
			all[k] = &Account{Partition: k.Partition, Name: k.Name, Others: k.Others}
		}
		return all[k]
	}
	for row := range v.t.accounts.sums().from(&accountRow{accountKey: accountKey{Axis: axis, Day: from, Others: true}}) {
		if row.Axis != axis || row.Day > to {
			break
		}
		if row.Account != (api.Account{}) {
			of(row.accountKey).Add(&row.Account)
		}
	}
	v.t.nodeTasks.Ascend(func(t *api.Task) bool {
		j := v.Job(t.Job)
		if j == nil || t.Started.IsZero() {
			return true
		}
		r := ran(j, v.t.owner(j), t, now)
		if first, last := from*msOfDay, (to+1)*msOfDay; r.end >= first && r.begin < last {
			k := of(r.key(axis, 0))
			a := r.on(first, last)
			k.Add(&a)
			k.Running++
		}
		return true
	})
	return slices.SortedFunc(maps.Values(all), func(a, b *Account) int {
		return cmp.Or(strings.Compare(a.Partition, b.Partition), strings.Compare(a.Name, b.Name), compareBools(a.Others, b.Others))
	})
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
