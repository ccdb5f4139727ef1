package server

import (
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server/exchange"
	"github.com/mesita/mesita/fsm"
)

// taskFilter reads ?state=: pending, frozen, or a state's name with or without TASK_.
func taskFilter(q *exchange.Query) func(*api.Task) bool {
	name := q.Text("state")
	switch {
	case name == "":
		return nil
	case strings.EqualFold(name, "pending"):
		return (*api.Task).Pending
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
	all, inState, labels := c.Query.Flag("all"), taskFilter(&c.Query), c.Query.Labels()
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
	tasks := v.Tasks()
	if nodeID != "" && !all && inState == nil {
		tasks = v.NodeTasks(nodeID)
	}
	if job := c.Query.Text("job"); job != "" {
		if v.Job(job) == nil {
			return nil, api.NotFound("job", job)
		}
		tasks = v.JobTasks(job)
	}
	return exchange.ListOf(exchange.Filtered(tasks, func(t *api.Task) bool {
		switch {
		case len(labels) > 0 && !labelled(v, t.Job, labels):
			return false
		case nodeID != "" && t.NodeID != nodeID:
			return false
		case inState != nil:
			return inState(t)
		}
		return all || !t.State.Final()
	})), nil
}

// labelled tells whether a job has such labels.
func labelled(v *fsm.View, job string, labels []api.Constraint) bool {
	j := v.Job(job)
	return j != nil && api.MatchAll(labels, "", j.Spec.Labels)
}

// task is the one that the path names.
func (c *call) task() (*api.Task, error) {
	if t := c.Store.View().Task(c.Args[0]); t != nil {
		return t, nil
	}
	return nil, api.Errorf(api.CodeNotFound, "no task %q: a task's id is its job's id, a dot and a number; `mesita ps --all` lists them", c.Args[0])
}

func getTask(c *call) (any, error) { return c.task() }

type taskStop struct {
	Move bool `json:"move"`
}

func stopTask(c *call) (any, error) {
	var in taskStop
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if _, err := c.task(); err != nil {
		return nil, err
	}
	_, err := c.Do(&fsm.TaskStop{Meta: c.Meta(), IDs: c.Args[:], Move: in.Move, Reason: api.ReasonStopped})
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
	why, err := c.Planner.Explain(c.Store.View(), c.Args[0])
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
