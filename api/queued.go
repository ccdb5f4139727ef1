package api

import (
	"fmt"
	"strings"
	"time"
)

// Sure is how sure an estimate is of when a task starts.
type Sure string

// In the order of how much each says.
const (
	SurePromised Sure = "promised" // room is kept for it then
	SureLimits   Sure = "limits"   // if what is before it takes as long as its --time allows
	SureRuns     Sure = "runs"     // if what is before it takes as long as earlier runs of it did
	SureNot      Sure = "order"    // nobody knows when; by weights and policies this is its place
)

// Queued is what waits of one job, in the order in which it will be served: as
// room comes free, and if nothing else is submitted meanwhile.
type Queued struct {
	// Position is how many tasks are served before the first of these, and one.
	Position  int       `json:"position"`
	Task      string    `json:"task"` // the first of them
	Job       string    `json:"job"`
	Index     int       `json:"index"`
	Through   int       `json:"through"` // index of the last of them
	Count     int       `json:"count"`
	Partition string    `json:"partition"`
	User      string    `json:"user"` // who submitted it, root of any node being one
	Resources Resources `json:"resources"`
	Submitted time.Time `json:"submitted"`
	Reason    string    `json:"reason"`   // why the first of them waits
	Obstacle  Obstacle  `json:"obstacle"` // what the reason is made of
	Estimate  time.Time `json:"estimate,omitzero"`
	Sure      Sure      `json:"sure"`

	behind []string // see Behind
}

// Range names the tasks: 57.12, or 57.12-57.99.
func (q *Queued) Range() string {
	if q.Count == 1 {
		return q.Task
	}
	return q.Task + "-" + TaskID(q.Job, q.Through)
}

// Because says why it waits.
func (q *Queued) Because(o Obstacle) { q.Obstacle, q.Reason = o, o.ofTask() }

// Hide leaves out what is of jobs that its reader does not see.
func (q *Queued) Hide(sees func(job string) bool) { q.Because(q.Obstacle.hide(sees)) }

// Behind says after which jobs the row is shown, the last ones first: its key names them.
func (q *Queued) Behind(jobs []string) { q.behind = jobs }

// QueueKey is a row's place in the list of all, as a text, with its job and those that
// it is behind: places are others by the time that somebody continues after it.
func QueueKey(q *Queued) string {
	return strings.Join(append([]string{fmt.Sprintf("%012d", q.Position), q.Job}, q.behind...), "\x00")
}

// QueueAfter is a key between those of a row and of the next.
func QueueAfter(q *Queued) string { return fmt.Sprintf("%012d\xff", q.Position) }

// QueueAnchors are the jobs that a key names, the last ones first.
func QueueAnchors(key string) []string { return strings.Split(key, "\x00")[1:] }
