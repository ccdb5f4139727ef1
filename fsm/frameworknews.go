package fsm

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
)

// newsRow is what became of one task that its framework has not acknowledged. It is apart
// from the task, as that is told by an event whenever it changes.
type newsRow struct {
	api.Extra
	Framework string                `json:"framework"`
	Job       string                `json:"job"`
	Index     int                   `json:"index"`
	Task      string                `json:"task"` // by which the framework knows it
	NodeID    string                `json:"nodeID"`
	Info      int                   `json:"info,omitempty"` // bytes of what the framework said of the task, which is kept as long
	Updates   []api.FrameworkUpdate `json:"updates"`        // oldest first
}

var newsNoun = noun[newsRow]{
	less: func(a, b *newsRow) bool {
		return cmp.Or(strings.Compare(a.Framework, b.Framework), strings.Compare(a.Job, b.Job), cmp.Compare(a.Index, b.Index)) < 0
	},
	watch:  TableFrameworkNews,
	id:     func(r *newsRow) string { return r.Framework + "\x00" + api.TaskID(r.Job, r.Index) },
	follow: (*tx).indexNews,
	forms:  []form[newsRow]{{record: recFrameworkNews}},
}

// indexNews keeps the sum of what a framework has not acknowledged in step.
func (x *tx) indexNews(old, r *newsRow) {
	row := x.ownUse(&x.newsUse, cmp.Or(r, old).Framework)
	if row.news += r.size() - old.size(); row.news == 0 {
		x.newsUse.Delete(row)
	}
}

// size is about how many bytes are kept as long as the row is there.
func (r *newsRow) size() int {
	if r == nil {
		return 0
	}
	n := 512 + r.Info
	for i := range r.Updates {
		n += 128 + len(r.Updates[i].Message) + len(r.Updates[i].Status)
	}
	return n
}

// newsBytes is how much a framework has not acknowledged.
func (t *tables) newsBytes(framework string) int {
	if r := get(t.newsUse.BTreeG, &usageRow{path: framework}); r != nil {
		return r.news
	}
	return 0
}

// noteNews adds what becomes of a framework's task to what the framework is told. Of more
// than it acknowledges in time the last replaces the one before.
func (x *tx) noteNews(old, t *api.Task) {
	switch {
	case t.Framework.IsExecutor: // whose end is told otherwise
		return
	case old == nil && t.State == api.TaskStaging, old != nil && old.State == t.State && sameHealth(old.Healthy, t.Healthy) && t.Check.Equal(old.Check):
		return
	case old != nil && !bytes.Equal(old.Framework.Last, t.Framework.Last): // told as its executor said it
		return
	}
	reason := t.Reason
	if old != nil && old.State == t.State {
		if reason = api.ReasonCheck; !sameHealth(old.Healthy, t.Healthy) {
			reason = api.ReasonHealth
		}
	}
	x.addNews(t, api.FrameworkUpdate{State: t.State, Reason: reason, Message: t.Message, Healthy: t.Healthy, Check: t.Check, Time: x.At,
		Back: old != nil && old.State == api.TaskUnreachable && !t.State.Final()})
}

// addNews adds one update, by an id of its own if it has none.
func (x *tx) addNews(t *api.Task, u api.FrameworkUpdate) {
	if f := x.frameworkAt(t.Framework.Framework); f == nil || !f.Ended.IsZero() {
		return
	}
	row := newsRow{Framework: t.Framework.Framework, Job: t.Job, Index: t.Index, Task: t.Framework.ID, NodeID: t.NodeID, Info: len(t.Framework.Info)}
	was := x.news.get(&row)
	size := 0
	if was != nil {
		row.Extra, row.Updates = was.Extra, slices.Clone(was.Updates)
		for i := range row.Updates {
			size += len(row.Updates[i].Status)
		}
	}
	if u.ID == nil {
		u.ID = x.newsID(t, len(row.Updates))
	}
	if len(row.Updates) >= api.MaxFrameworkUpdates || len(row.Updates) > 0 && size+len(u.Status) > api.MaxTaskUpdates {
		row.Updates[len(row.Updates)-1] = u
	} else {
		row.Updates = append(row.Updates, u)
	}
	x.news.put(x, &row)
}

func sameHealth(a, b *bool) bool { return a == b || a != nil && b != nil && *a == *b }

// newsID is 16 bytes that no other update has, and that all replicas give it.
func (x *tx) newsID(t *api.Task, n int) []byte {
	h := sha256.New()
	var b [8]byte
	for _, s := range []string{t.Framework.Framework, t.ID, t.State.String()} {
		binary.BigEndian.PutUint64(b[:], uint64(len(s)))
		h.Write(b[:])
		h.Write([]byte(s))
	}
	for _, i := range []uint64{uint64(t.Attempt), x.index, uint64(n)} {
		binary.BigEndian.PutUint64(b[:], i)
		h.Write(b[:])
	}
	return h.Sum(nil)[:16]
}

// FrameworkAck notes which updates of tasks a framework has taken. What is not the oldest
// of its task is left out. Its value is how many were.
type FrameworkAck struct {
	Meta
	Framework string `json:"framework"`
	Acks      []Ack  `json:"acks"`
}

// Ack is one update of a task.
type Ack struct {
	Job    string `json:"job"`
	Index  int    `json:"index"`
	Update []byte `json:"update"`
}

func (c *FrameworkAck) apply(x *tx) (any, error) {
	n := 0
	jobs := map[string]struct{}{}
	for _, a := range c.Acks {
		was := x.news.get(&newsRow{Framework: c.Framework, Job: a.Job, Index: a.Index})
		if was == nil || !bytes.Equal(was.Updates[0].ID, a.Update) {
			continue
		}
		n++
		if len(was.Updates) > 1 {
			row := *was
			row.Updates = slices.Clone(was.Updates[1:])
			x.news.put(x, &row)
			continue
		}
		x.news.delete(x, was)
		if was.Updates[0].State.Final() {
			jobs[a.Job] = struct{}{}
		}
	}
	for _, a := range c.Acks { // in the order of the command, which is everywhere the same
		if _, ended := jobs[a.Job]; ended {
			delete(jobs, a.Job)
			x.forgetEnded(a.Job)
		}
	}
	return n, nil
}

// forgetMore is how many more ended tasks of a framework's job than are remembered there
// may be before the oldest are removed, all in one go as that looks at all of them.
const forgetMore = 200

// forgetEnded removes the tasks of a framework's job that ended first, once there are too
// many and the framework knows of them.
func (x *tx) forgetEnded(job string) {
	j := x.jobAt(job)
	if j == nil || j.Framework == "" || j.Counts.Finished+j.Counts.Failed+j.Counts.Stopped <= api.MaxFrameworkEnded+forgetMore {
		return
	}
	ended := slices.DeleteFunc(x.jobTasks(job), func(t *api.Task) bool {
		return !t.State.Final() || x.news.get(&newsRow{Framework: j.Framework, Job: t.Job, Index: t.Index}) != nil
	})
	slices.SortFunc(ended, func(a, b *api.Task) int {
		return cmp.Or(a.Ended.Compare(b.Ended), cmp.Compare(a.Index, b.Index))
	})
	for _, t := range ended[:max(0, len(ended)-api.MaxFrameworkEnded)] {
		x.deleteTask(t)
		x.happened(api.Event{Kind: api.EventTaskRemoved, Object: t.ID, Job: t.Job, Message: "its framework knows of its end, and there are many after it"})
	}
}

// dropNews forgets what a framework was to be told.
func (x *tx) dropNews(framework string) {
	var rows []*newsRow
	for r := range x.news.from(&newsRow{Framework: framework}) {
		if r.Framework != framework {
			break
		}
		rows = append(rows, r)
	}
	for _, r := range rows {
		x.news.delete(x, r)
	}
}

// News is what became of a task that its framework has not acknowledged, oldest first.
type News struct {
	Job     string
	Index   int
	Task    string // by which the framework knows it
	NodeID  string
	Updates []api.FrameworkUpdate
}

// SplitNewsID is whose news a change of TableFrameworkNews is, and of which task.
func SplitNewsID(id string) (framework, job string, index int) {
	framework, task, _ := strings.Cut(id, "\x00")
	job, index, _ = splitTaskID(task)
	return framework, job, index
}

// FrameworkNewsOf is what a framework has not acknowledged of one task, if that is something.
func (v *View) FrameworkNewsOf(framework, job string, index int) (News, bool) {
	r := v.t.news.get(&newsRow{Framework: framework, Job: job, Index: index})
	if r == nil {
		return News{}, false
	}
	return News{r.Job, r.Index, r.Task, r.NodeID, r.Updates}, true
}

// FrameworkNews lists what a framework has not acknowledged, by task.
func (v *View) FrameworkNews(framework string) iter.Seq[News] {
	return func(yield func(News) bool) {
		for r := range v.t.news.from(&newsRow{Framework: framework}) {
			if r.Framework != framework || !yield(News{r.Job, r.Index, r.Task, r.NodeID, r.Updates}) {
				return
			}
		}
	}
}
