package trace

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
)

// The types of events of the Google cluster trace of 2019, in its numbering.
var googleTypes = []string{"SUBMIT", "QUEUE", "ENABLE", "SCHEDULE", "EVICT", "FAIL", "FINISH", "KILL", "LOST", "UPDATE_PENDING", "UPDATE_RUNNING"}

// googleTier is the partition of a priority, by the tiers of the trace's own
// documentation.
func googleTier(priority int) string {
	switch {
	case priority <= 99:
		return "free"
	case priority <= 115:
		return "batch"
	case priority <= 119:
		return "mid"
	case priority <= 359:
		return "production"
	}
	return "monitoring"
}

// afterTrace is the trace's word for a time after its end.
const afterTrace = math.MaxInt64

type googleKey struct {
	collection string
	index      int
}

// googleTask is what the events of one instance come to.
type googleTask struct {
	googleKey
	line, row int
	user      string
	submit    time.Duration
	started   time.Duration // -1: it does not run
	runtime   time.Duration // of the run that ended last
	priority  int
	cpus, mem float64
}

type googleState struct {
	tasks map[googleKey]*googleTask
	last  time.Duration
}

// readGoogle reads instance_events of the Google cluster trace of 2019. A run
// that ended with EVICT or LOST does not count: preemption and failures are
// what is simulated.
func readGoogle(b *builder) error {
	st := googleState{tasks: map[googleKey]*googleTask{}}
	if err := b.table.each(func() error { return st.event(b.table) }); err != nil {
		return err
	}
	return st.finish(b)
}

func (st *googleState) event(t *table) error {
	at, err := strconv.ParseInt(t.get("time"), 10, 64)
	if err != nil || at < 0 {
		return t.errorf("time", "%q is not a number of microseconds", t.get("time"))
	}
	if at == afterTrace || t.get("collection_type") == "1" { // a reservation, which runs nothing itself
		return nil
	}
	if at > MaxSpan.Microseconds() {
		return t.errorf("time", "%d microseconds is more than %s", at, api.Duration(MaxSpan))
	}
	now := time.Duration(at) * time.Microsecond
	if now < st.last {
		return t.errorf("time", "goes back to %s: order the file by time", now)
	}
	st.last = now
	kind, err := googleType(t)
	if err != nil {
		return err
	}
	index, err := strconv.Atoi(t.get("instance_index"))
	if err != nil {
		return t.errorf("instance_index", "%q is not a whole number", t.get("instance_index"))
	}
	key := googleKey{t.get("collection_id"), index}
	if key.collection == "" {
		return t.errorf("collection_id", "is empty")
	}
	return st.apply(t, key, kind, now)
}

func googleType(t *table) (string, error) {
	s := t.get("type")
	if n, err := strconv.Atoi(s); err == nil && n >= 0 && n < len(googleTypes) {
		return googleTypes[n], nil
	}
	if slices.Contains(googleTypes, s) {
		return s, nil
	}
	return "", t.errorf("type", "%q is not a type of event: 0 to %d, or a name such as SUBMIT", s, len(googleTypes)-1)
}

func (st *googleState) apply(t *table, key googleKey, kind string, now time.Duration) error {
	task := st.tasks[key]
	if task == nil {
		task = &googleTask{googleKey: key, line: t.line, row: t.row(), user: t.get("user"), submit: now, started: -1}
		st.tasks[key] = task
	}
	switch kind {
	case "SUBMIT", "SCHEDULE", "UPDATE_PENDING":
		if err := task.request(t); err != nil {
			return err
		}
	}
	switch kind {
	case "SCHEDULE":
		task.started = now
	case "EVICT", "LOST":
		task.started = -1
	case "FAIL", "FINISH", "KILL":
		if task.started >= 0 {
			task.runtime = max(now-task.started, time.Millisecond)
		}
		task.started = -1
	}
	return nil
}

func (g *googleTask) request(t *table) error {
	if err := t.unfold("resource_request", "cpus", "memory"); err != nil {
		return err
	}
	cpus, err := t.number("resource_request.cpus", 1000)
	if err != nil {
		return err
	}
	mem, err := t.number("resource_request.memory", 1000)
	if err != nil {
		return err
	}
	if s := t.get("priority"); s != "" {
		if g.priority, err = parsePriority(s); err != nil {
			return t.errorf("priority", "%s", message(err))
		}
	}
	if cpus > 0 || mem > 0 {
		g.cpus, g.mem = cpus, mem
	}
	return nil
}

// finish makes a job of the instances of a collection that were submitted
// together and ask for the same.
func (st *googleState) finish(b *builder) error {
	all := make([]*googleTask, 0, len(st.tasks))
	never, running := 0, 0
	for _, t := range st.tasks {
		if t.runtime == 0 && t.started >= 0 && st.last > t.started {
			t.runtime = st.last - t.started
			running++
		}
		if t.runtime == 0 {
			never++
			continue
		}
		all = append(all, t)
	}
	slices.SortFunc(all, func(x, y *googleTask) int {
		return cmp.Or(compareGroups(x, y), cmp.Compare(x.index, y.index))
	})
	if never > 0 {
		b.note("%s left out: no run ended by itself", api.Count(never, "task"))
	}
	if running > 0 {
		b.note("%s still ran at the end of the trace, and count as if that was their end", api.Count(running, "task"))
	}
	for len(all) > 0 {
		n := 1
		for n < len(all) && compareGroups(all[0], all[n]) == 0 {
			n++
		}
		if err := b.addSplit(googleJob(all[:n], b.mapping)); err != nil {
			return err
		}
		all = all[n:]
	}
	b.fromStart()
	return nil
}

func compareGroups(x, y *googleTask) int {
	return cmp.Or(cmp.Compare(x.submit, y.submit), cmp.Compare(x.collection, y.collection), cmp.Compare(x.cpus, y.cpus),
		cmp.Compare(x.mem, y.mem), cmp.Compare(x.priority, y.priority))
}

func googleJob(tasks []*googleTask, m Mapping) Job {
	first := tasks[0]
	j := Job{Line: first.line, Submit: first.submit, Name: first.collection, User: first.user, Partition: googleTier(first.priority),
		Kind: api.KindBatch, Tasks: len(tasks), Priority: first.priority, Runtimes: make([]time.Duration, len(tasks)), Places: make([]Place, len(tasks))}
	for i, t := range tasks {
		j.Runtimes[i], j.Places[i] = t.runtime, Place{t.row, t.index}
		j.Line = min(j.Line, t.line)
	}
	j.CPUs, j.Mem = amounts(first.cpus*m.wholeCPUs(), first.mem*m.wholeMem())
	return j
}
