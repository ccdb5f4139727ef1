package server

import (
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// taskFilter reads ?state=: pending, frozen, leaving, or a state's name with or without TASK_.
func taskFilter(q *exchange.Query) func(*api.Task) bool {
	name := q.Text("state")
	switch {
	case name == "":
		return nil
	case strings.EqualFold(name, "pending"):
		return (*api.Task).Pending
	case strings.EqualFold(name, "leaving"):
		return (*api.Task).Leaving
	case strings.EqualFold(name, "frozen"):
		return func(t *api.Task) bool { return t.Frozen && !t.State.Final() }
	}
	name = strings.ToUpper(name)
	if !strings.HasPrefix(name, "TASK_") {
		name = "TASK_" + name
	}
	var state api.TaskState
	if err := state.UnmarshalText([]byte(name)); err != nil {
		q.Fail(api.InField("state", err))
	}
	return func(t *api.Task) bool { return t.State == state }
}

func listTasks(c *call) (any, error) {
	v := c.Store.View()
	sees := c.sight(v)
	framework, own := c.Query.Text("framework"), c.Query.Text("own")
	all, fold, inState, labels := c.Query.Flag("all"), c.Query.Flag("fold"), taskFilter(&c.Query), c.Query.Labels()
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	nodeID := ""
	if ref := c.Query.Text("node"); ref != "" {
		n, err := findNode(v, ref)
		if err != nil {
			return nil, err
		}
		nodeID = n.ID
	}
	runs, err := c.taskRuns(v)
	if err != nil {
		return nil, err
	}
	switch {
	case nodeID != "" && !all && inState == nil && !c.Query.Has("job") && framework == "":
		runs = onNode(v, nodeID)
	case nodeID != "":
		runs = keptRuns(runs, func(_ *api.Job, t *api.Task) bool { return t.NodeID == nodeID })
	}
	wanted := func(j *api.Job) bool {
		return j != nil && (framework == "" || j.Framework == framework) && sees.reads(j) && (len(labels) == 0 || api.MatchAll(labels, "", j.Spec.Labels))
	}
	out := exchange.List{Items: taskRows(keptRuns(runs, func(j *api.Job, t *api.Task) bool {
		switch {
		case inState != nil && !inState(t), inState == nil && !all && t.State.Final():
			return false
		}
		return wanted(j)
	}), sees, fold)}
	if nodeID == "" && inState == nil && own == "" {
		out.Total = func() int { return c.countTasks(v, all, wanted) }
	}
	return out, nil
}

// countTasks is how many tasks a list has of the jobs that are wanted, by what is
// kept of each job.
func (c *call) countTasks(v *fsm.View, all bool, wanted func(*api.Job) bool) (n int) {
	count := func(j *api.Job) {
		switch {
		case !wanted(j):
		case all:
			n += j.Counts.Total()
		default:
			n += j.Counts.Live()
		}
	}
	if id := c.Query.Text("job"); id != "" {
		count(v.Job(id))
		return n
	}
	for j := range v.Jobs() {
		count(j)
	}
	return n
}

// runs are tasks with their jobs, several at a time where they differ in their
// index alone.
type runs = iter.Seq2[*api.Job, fsm.TaskRun]

// taskRuns lists the tasks that the query is about, from where its page begins.
func (c *call) taskRuns(v *fsm.View) (runs, error) {
	after, from := "", 0
	if key := c.After(); key != "" {
		if after, from = placeOf(key); from < 0 {
			return nil, api.FieldErrorf("cursor", "is of another list: give what this one had as next, or leave it out")
		}
		from++
	}
	id, framework, own := c.Query.Text("job"), c.Query.Text("framework"), c.Query.Text("own")
	switch {
	case own != "" && framework == "":
		return nil, api.FieldErrorf("own", "is an id that a framework gave: say with framework which one")
	case framework != "":
		return c.frameworkRuns(v, framework, own, after, from)
	case id == "":
		return v.TaskRuns(after, from), nil
	}
	j := v.Job(id)
	if j == nil || !c.sight(v).job(id) {
		return nil, api.NotFound("job", id)
	}
	if after != id {
		from = 0
	}
	return v.JobRuns(j, from), nil
}

// frameworkRuns are those of a framework, or the last that it gave an id of its own; else
// its executors of that id.
func (c *call) frameworkRuns(v *fsm.View, framework, own, after string, from int) (runs, error) {
	if f := v.Framework(framework); f == nil || !c.sight(v).framework(f) {
		return nil, api.NotFound("framework", framework)
	}
	if own != "" {
		return func(yield func(*api.Job, fsm.TaskRun) bool) {
			run := func(t *api.Task) bool { return yield(v.Job(t.Job), fsm.TaskRun{Row: t, Index: t.Index, N: 1}) }
			if after != "" {
				return
			}
			if t := v.FrameworkTask(framework, own); t != nil {
				run(t)
				return
			}
			for n := range v.Nodes() { // an executor may be on each
				if t := v.Executor(framework, n.ID, own); t != nil && !run(t) {
					return
				}
			}
		}, nil
	}
	return func(yield func(*api.Job, fsm.TaskRun) bool) {
		more := true
		for _, j := range v.FrameworkJobs(framework) {
			if j.ID < after {
				continue
			}
			begin := 0
			if j.ID == after {
				begin = from
			}
			v.JobRuns(j, begin)(func(j *api.Job, r fsm.TaskRun) bool {
				more = yield(j, r)
				return more
			})
			if !more {
				return
			}
		}
	}, nil
}

func onNode(v *fsm.View, nodeID string) runs {
	return func(yield func(*api.Job, fsm.TaskRun) bool) {
		for t := range v.NodeTasks(nodeID) {
			if !yield(v.Job(t.Job), fsm.TaskRun{Row: t, Index: t.Index, N: 1}) {
				return
			}
		}
	}
}

func keptRuns(all runs, keep func(*api.Job, *api.Task) bool) runs {
	return func(yield func(*api.Job, fsm.TaskRun) bool) {
		all(func(j *api.Job, r fsm.TaskRun) bool { return !keep(j, r.Like(j)) || yield(j, r) })
	}
}

// taskKey orders tasks by job and index.
func taskKey(row any) string {
	switch t := row.(type) {
	case api.TaskRun:
		return fmt.Sprintf("%s\x00%010d", t.Job, t.Through)
	case *api.Task:
		return fmt.Sprintf("%s\x00%010d", t.Job, t.Index)
	}
	return ""
}

// placeOf reads a key: what it is of, and where; below 0: it is none.
func placeOf(key string) (job string, index int) {
	job, s, _ := strings.Cut(key, "\x00")
	index, err := strconv.Atoi(s)
	if err != nil {
		return "", -1
	}
	return job, index
}

// taskRows are the rows of a list of tasks; with fold what waits and does not
// differ is one. A task that no page has is not made up.
func taskRows(all runs, sees *sight, fold bool) func(func(any) bool) {
	return func(yield func(any) bool) {
		if !fold {
			all(func(j *api.Job, r fsm.TaskRun) bool {
				return yield(exchange.Many{N: r.N, Row: func(i int) any { return sees.shownTask(r.At(j, i)) }})
			})
			return
		}
		var open folded // may continue
		more := true
		all(func(j *api.Job, r fsm.TaskRun) bool {
			if open.takes(sees, j, r) {
				return true
			}
			more = open.end(yield)
			open = folded{sees: sees, job: j, first: r, n: r.N}
			return more
		})
		if more {
			open.end(yield)
		}
	}
}

// folded is tasks that are told as one row.
type folded struct {
	sees  *sight
	job   *api.Job
	first fsm.TaskRun
	n     int
	head  *api.Task // the first as it is shown; nil: not made up yet
}

func (f *folded) row() api.TaskRun {
	if f.head == nil {
		f.head = f.sees.shownTask(f.first.At(f.job, 0))
	}
	return api.TaskRun{Task: f.head, Through: f.first.Index + f.n - 1, Count: f.n}
}

// takes adds tasks to the row, if they follow and differ in nothing else.
func (f *folded) takes(sees *sight, j *api.Job, r fsm.TaskRun) bool {
	if f.n == 0 || j != f.job || !r.Like(j).Pending() {
		return false
	}
	if row := f.row(); !row.Joins(sees.shownTask(r.At(j, 0))) {
		return false
	}
	f.n += r.N
	return true
}

// end yields the row, if there is one.
func (f *folded) end(yield func(any) bool) bool {
	if f.n == 0 {
		return true
	}
	row := *f
	return yield(exchange.Many{N: row.n, Whole: func() any { return row.row() }})
}

// task is the one that the path names.
func (c *call) task() (*api.Task, error) {
	v := c.Store.View()
	if sees, t := c.sight(v), v.Task(c.Args[0]); t != nil && sees.job(t.Job) {
		return sees.shownTask(t), nil
	}
	return nil, noTask(c.Args[0])
}

func noTask(id string) error {
	return api.Errorf(api.CodeNotFound, "no task %q: a task's id is its job's id, a dot and a number; `mesita ps --all` lists them", id)
}

func getTask(c *call) (any, error) { return c.task() }

// ownProcess refuses a task that has none to enter or to hear of: its executor has.
func ownProcess(v *fsm.View, t *api.Task, word string) error {
	if !t.Hosted() {
		return nil
	}
	if e := v.Executor(t.Framework.Framework, t.NodeID, t.Framework.Executor); e != nil {
		return api.Errorf(api.CodeConflict, "task %s has no process of its own, it runs in executor %s: `mesita %s %s`", t.ID, e.ID, word, e.ID)
	}
	return api.Errorf(api.CodeConflict, "task %s has no process of its own, and its executor %q has ended: see `mesita ps --all`", t.ID, t.Framework.Executor)
}

type taskStop struct {
	Move    bool `json:"move"`
	Attempt int  `json:"attempt,omitempty"`
}

func stopTask(c *call) (any, error) {
	var in taskStop
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	t, err := c.task()
	switch {
	case err != nil:
		return nil, err
	case in.Move && t.Framework != nil:
		return nil, decided(c.Store.View(), "task "+t.ID, t.Framework.Framework, "stop it, and its framework starts another if it wants one")
	}
	stop := &fsm.TaskStop{Meta: c.Meta(), IDs: c.Args[:], Move: in.Move, Reason: api.ReasonStopped}
	switch {
	case in.Attempt < 0:
		return nil, api.FieldErrorf("attempt", "%d is not the number of an attempt: they are counted from 1", in.Attempt)
	case in.Attempt != 0 && in.Attempt != t.Attempt:
		return nil, fsm.OtherAttempt(t, in.Attempt)
	case c.Store.View().Does(fsm.Frameworks):
		stop.Attempt = in.Attempt // else one that began meanwhile may be meant
	}
	_, err = c.Do(stop)
	if api.ErrorCode(err) == api.CodeNotFound {
		err = c.notStopped(err, in.Move)
	}
	if err != nil {
		return nil, err
	}
	return c.task()
}

// notStopped says why a task was not told to end, or nil if it was before: by
// the same request, or as another of its gang.
func (c *call) notStopped(err error, move bool) error {
	v := c.Store.View()
	switch t := v.Task(c.Args[0]); {
	case t == nil:
		return err
	case !move && t.Desired == api.DesiredStop:
		return nil
	case t.Pending() && move:
		return api.Errorf(api.CodeConflict, "task %s waits, and there is nothing to restart: `mesita why %s` says what it waits for", t.ID, t.ID)
	case t.Pending() && !v.Does(fsm.StoppedUnmade):
		return api.Errorf(api.CodeConflict, "task %s was not started yet, and a cluster at level %d cannot stop it by itself: let it start, stop its job with `mesita stop %s`, or see `mesita cluster level`", t.ID, v.Level(), t.Job)
	}
	return err
}

func whyTask(c *call) (any, error) {
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	why, err := c.explain()
	if err == nil && t.State == api.TaskRunning {
		if held := c.heldUp(t); held != "" {
			why.Hints = append(why.Hints, "was held up for "+held)
		}
	}
	return why, err
}

// heldUp says which limit kept a running task from running, as far as its node
// answers.
func (c *call) heldUp(t *api.Task) string {
	n := c.Store.View().Node(t.NodeID)
	if n == nil {
		return ""
	}
	stats, _ := c.statsOf(n)
	for i := range stats {
		if stats[i].Task == t.ID && stats[i].Attempt == t.Attempt {
			return stats[i].HeldUp()
		}
	}
	return ""
}

// place is the node that has or had the attempt; attempt 0 is the newest that
// was placed, -1 the one before it.
func place(t *api.Task, attempt int) (nodeID string, number int, err error) {
	placed := t.Earlier
	if t.NodeID != "" {
		placed = append(placed[:len(placed):len(placed)], api.Attempt{Attempt: t.Attempt, NodeID: t.NodeID})
	}
	if len(placed) == 0 && t.State.Final() {
		return "", 0, api.Errorf(api.CodeNotFound, "task %s was never started: see `mesita why %s`", t.ID, t.ID)
	}
	if len(placed) == 0 {
		return "", 0, api.Errorf(api.CodeConflict, "task %s has not been started yet: see `mesita why %s`", t.ID, t.ID)
	}
	if attempt <= 0 {
		i := len(placed) - 1 + attempt
		if i < 0 {
			return "", 0, api.Errorf(api.CodeNotFound, "task %s has no earlier attempt", t.ID)
		}
		return placed[i].NodeID, placed[i].Attempt, nil
	}
	for _, a := range placed {
		if a.Attempt == attempt {
			return a.NodeID, a.Attempt, nil
		}
	}
	if attempt == t.Attempt {
		return "", 0, api.Errorf(api.CodeConflict, "attempt %d of task %s has not been started yet: see `mesita why %s`", attempt, t.ID, t.ID)
	}
	return "", 0, api.Errorf(api.CodeNotFound, "task %s has no attempt %d that is remembered", t.ID, attempt)
}
