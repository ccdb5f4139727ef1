package fsm

import (
	"fmt"
	"slices"

	"github.com/mesita/mesita/api"
)

// MaxApplyBytes bounds an ApplyAll as it is in the log: an entry goes to every voter
// in one piece, and nothing else is written meanwhile.
const MaxApplyBytes = 1 << 20

// maxApplyTasks bounds the tasks that one ApplyAll makes at once; the controller makes
// the others, some at a time.
const maxApplyTasks = 10_000

// maxApplyRows bounds the partitions, jobs and tasks that one ApplyAll changes: nothing
// else takes effect meanwhile, for about a second with so many.
const maxApplyRows = 60_000

// ApplyAll makes partitions and jobs be as they are told, and stops others: all of it,
// or nothing. Each part is refused as it would be alone, but for partitions, which
// are looked at together once all are as told: what one gives up another may have,
// whatever their order. Its value is the *AppliedAll; an error says of which part it
// is by a *PartError.
//
// Stops come first, and make room in queues. Parts have no Meta of their own.
type ApplyAll struct {
	Meta
	Stops      []*JobStop      `json:"stops,omitempty"`
	Partitions []*PartitionPut `json:"partitions,omitempty"`
	Updates    []*JobUpdate    `json:"updates,omitempty"`
	Creates    []*JobCreate    `json:"creates,omitempty"`
	Seen       []Seen          `json:"seen,omitempty"` // what was looked at to decide on it
}

// Seen is a job or a partition that is to have that revision still; 0 = it is not
// there.
type Seen struct {
	Job       string `json:"job,omitempty"`
	Partition string `json:"partition,omitempty"`
	Revision  uint64 `json:"revision,omitempty"`
}

// AppliedAll is what an ApplyAll made, in the order of its parts.
type AppliedAll struct {
	Partitions []*api.Partition
	Updated    []*api.Job
	Created    []*api.Job
}

// PartError is why a part of an ApplyAll was refused: one of both is set.
type PartError struct {
	Job       string
	Partition string
	Err       error
}

func (e *PartError) Error() string { return e.Job + e.Partition + ": " + e.Err.Error() }
func (e *PartError) Unwrap() error { return e.Err }

// parts are the commands that it is made of, as they are applied.
func (c *ApplyAll) parts() []Command {
	var out []Command
	for _, s := range c.Stops {
		out = append(out, s)
	}
	for _, p := range c.Partitions {
		out = append(out, p)
	}
	for _, u := range c.Updates {
		out = append(out, u)
	}
	for _, j := range c.Creates {
		out = append(out, j)
	}
	return out
}

// apply lets all parts take effect on a copy of the state, which is the state from
// then on unless one was refused.
func (c *ApplyAll) apply(x *tx) (any, error) {
	state := x.tables.freeze()
	touched := map[Change]struct{}{}
	out, err := c.all(&tx{tables: &state, Meta: c.Meta, tell: x.tell, touch: func(t Table, id string) { touched[Change{t, id}] = struct{}{} }, begun: new(int)})
	if err != nil {
		if x.tell != nil {
			x.tell.reset()
		}
		return nil, err
	}
	*x.tables = state
	for k := range touched { // in any order: who watches looks once all is done
		x.touch(k.Table, k.ID)
	}
	return out, nil
}

func (c *ApplyAll) all(x *tx) (*AppliedAll, error) {
	if err := c.asSeen(x); err != nil {
		return nil, err
	}
	for _, s := range c.Stops {
		stop := *s
		stop.Meta = c.Meta
		if _, err := stop.apply(x); err != nil {
			return nil, &PartError{Job: s.ID, Err: err}
		}
	}
	out := new(AppliedAll)
	if err := c.partitions(x, out); err != nil {
		return nil, err
	}
	for _, u := range c.Updates {
		update := *u
		update.Meta = c.Meta
		j, err := update.apply(x)
		if err != nil {
			return nil, &PartError{Job: u.ID, Err: err}
		}
		out.Updated = append(out.Updated, j.(*api.Job))
	}
	for _, n := range c.Creates {
		create := *n
		create.Meta = c.Meta
		j, err := create.apply(x)
		if err != nil {
			return nil, &PartError{Job: n.Spec.Name, Err: err}
		}
		out.Created = append(out.Created, j.(*api.Job))
	}
	return out, nil
}

// asSeen refuses if something is not as it was when all this was decided on.
func (c *ApplyAll) asSeen(x *tx) error {
	for _, s := range c.Seen {
		now := uint64(0)
		if s.Job != "" {
			if j := x.jobAt(s.Job); j != nil {
				now = j.Revision
			}
		} else if p := x.partitions.get(&api.Partition{Path: s.Partition}); p != nil {
			now = p.Revision
		}
		switch {
		case now == s.Revision:
		case s.Job != "":
			return &PartError{Job: s.Job, Err: changedMeanwhile("job", s.Job)}
		default:
			return &PartError{Partition: s.Partition, Err: changedMeanwhile("partition", s.Partition)}
		}
	}
	return nil
}

func changedMeanwhile(what, name string) error {
	return &api.Error{Code: api.CodeConflict, Field: api.FieldRevision, Message: fmt.Sprintf("%s %q was changed meanwhile: look at it, and apply again", what, name)}
}

// partitions puts all of them before it looks whether they fit into one another.
func (c *ApplyAll) partitions(x *tx, out *AppliedAll) error {
	for _, p := range c.Partitions {
		put := *p
		put.Meta = c.Meta
		row, err := put.put(x, nil)
		if err != nil {
			return &PartError{Partition: p.Partition.Path, Err: err}
		}
		out.Partitions = append(out.Partitions, row)
	}
	for _, p := range out.Partitions {
		if err := x.fitsTree(p); err != nil {
			return &PartError{Partition: p.Path, Err: err}
		}
	}
	return nil
}

// Empty reports whether nothing would be changed.
func (c *ApplyAll) Empty() bool { return len(c.parts()) == 0 }

// Sort puts first what makes room for others: services that get fewer tasks.
func (c *ApplyAll) Sort(v *View) {
	more := func(u *JobUpdate) int {
		if j := v.Job(u.ID); j != nil {
			return u.Spec.Tasks() - j.Spec.Tasks()
		}
		return u.Spec.Tasks()
	}
	slices.SortStableFunc(c.Updates, func(a, b *JobUpdate) int { return more(a) - more(b) })
}

// CheckSize refuses what is too much for one log entry, in bytes or in what it changes
// of a view. A single part is as large as it would be alone.
func (c *ApplyAll) CheckSize(v *View) error {
	b, err := EncodeOne(c)
	if err != nil {
		return tooLarge("jobs", "%v: apply the documents in several parts", err)
	}
	if len(b) > MaxApplyBytes {
		return tooLarge("jobs", "what is to be changed comes to %s, compressed, and at most %s are changed at once, all or nothing: apply the documents in several parts", api.Bytes(len(b)), api.Bytes(MaxApplyBytes))
	}
	stopped, all := c.rows(v)
	switch {
	case all <= maxApplyRows || len(c.parts()) == 1:
	case stopped > all/2:
		return tooLarge("stop", "what is to be stopped has %s, and at most %d partitions, jobs and tasks are changed at once, all or nothing: stop some of the jobs before, each with `mesita stop`, and apply the documents then", api.Count(stopped, "task"), maxApplyRows)
	default:
		return tooLarge("jobs", "what is to be changed comes to %d partitions, jobs and tasks, and at most %d are changed at once, all or nothing: apply the documents in several parts", all, maxApplyRows)
	}
	return nil
}

func tooLarge(field, format string, args ...any) error {
	return &api.Error{Code: api.CodeTooLarge, Field: field, Message: fmt.Sprintf(format, args...)}
}

// rows is how many rows are made, changed or removed at most: those of the tasks of jobs
// that are stopped, and all of them.
func (c *ApplyAll) rows(v *View) (stopped, all int) {
	for _, s := range c.Stops {
		if j := v.Job(s.ID); j != nil {
			stopped += j.Counts.Live() - j.Unmade()
		}
	}
	all = stopped + len(c.Stops) + len(c.Partitions) + len(c.Updates) + len(c.Creates)
	for _, u := range c.Updates {
		if j := v.Job(u.ID); j != nil { // tasks that run are another's to change
			all += j.Counts.Total() - j.Counts.Running - j.Counts.Starting
		}
	}
	made := 0
	for _, n := range c.Creates {
		if n.Spec.Kind == api.KindService {
			made += min(n.Spec.Tasks(), maxFirstTasks)
		}
		if j := v.Job(n.Spec.Name); j != nil { // of one that ended, which it replaces
			all += taskRows(j)
		}
	}
	return stopped, all + min(made, maxApplyTasks)
}

// taskRows is how many tasks of a job there are, ended ones too, at most.
func taskRows(j *api.Job) int {
	if j.Spec.Kind == api.KindBatch {
		return j.Made
	}
	return j.Counts.Total()
}
