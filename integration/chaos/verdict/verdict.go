// Package verdict says what is wrong with what a cluster says of itself: whether
// promises were kept, and whether the sums of its ledger are right. It asks
// nobody; command integration/chaos hands it what clients were told and what the
// cluster answers at the end.
package verdict

import (
	"fmt"
	"strings"

	"github.com/mesita/mesita/api"
)

// Promise is a job that was acknowledged, or may have been accepted.
type Promise struct {
	Job     string
	Codes   []int // with which its tasks end, by index
	Acked   bool
	Stopped bool // somebody asked for that, with whatever outcome
	Silent  bool // its tasks write nothing
	Idle    bool // it has no tasks
}

// Batch says what is wrong with a job now that all has ended: each acknowledged
// one is there, and each task of it in one final state with the code that it
// ended with. Programs before levels forget tasks that were stopped before they
// began.
func (p *Promise) Batch(j *api.Job, tasks map[string]*api.Task, forgets bool) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	switch {
	case j == nil && p.Acked:
		say("job %s was acknowledged and is not there", p.Job)
		return wrong
	case j == nil:
		return nil
	case p.Idle:
		if got := j.Counts.Total(); got > 0 {
			say("job %s is to have no tasks, and has %d", p.Job, got)
		}
		return wrong
	}
	failed := 0
	for i, code := range p.Codes {
		t := tasks[api.TaskID(p.Job, i)]
		switch {
		case t == nil:
			if !p.Stopped || !forgets {
				say("task %d of %s is not there", i, p.Job)
			}
		case !t.State.Final():
			say("task %s has not ended: %s %s", t.ID, t.State, t.Reason)
		case t.ExitCode != nil && *t.ExitCode == code && (t.State == api.TaskFinished) == (code == 0):
			if code != 0 {
				failed++
			}
		case p.Stopped && t.State != api.TaskFinished:
		default:
			say("task %s is %s (%s, %s), its exit code is %s, want %d", t.ID, t.State, t.Reason, t.Message, Code(t.ExitCode), code)
		}
	}
	if well := failed == 0; !p.Stopped && (j.State == api.JobFinished) != well {
		say("batch %s is %s, and %d of its tasks failed", p.Job, j.State, failed)
	}
	return wrong
}

// Written says what is wrong with a task that ended by itself, when it wrote that
// code itself.
func Written(t *api.Task, code string) (wrong []string) {
	byItself := t.State == api.TaskFinished || t.State == api.TaskFailed && t.Reason == api.ReasonExited
	if byItself && code != Code(t.ExitCode) {
		wrong = append(wrong, fmt.Sprintf("task %s is %s with exit code %s in attempt %d, and wrote %q", t.ID, t.State, Code(t.ExitCode), t.Attempt, code))
	}
	return wrong
}

// Ledger says what is wrong with the sums of a node: each unit is in one place.
func Ledger(m *api.NodeStatus) (wrong []string) {
	l := m.Ledger
	cpus := l.Free.CPUs + l.Offered.CPUs + l.Allocated.CPUs + l.Reclaiming.CPUs
	mem := l.Free.Mem + l.Offered.Mem + l.Allocated.Mem + l.Reclaiming.Mem
	if cpus != m.Resources.CPUs || mem != m.Resources.Mem || l.Free.CPUs < 0 || l.Free.Mem < 0 {
		wrong = append(wrong, fmt.Sprintf("of %s's %v there is %+v", m.Name, m.Resources, l))
	}
	return wrong
}

// Code is how a task writes its exit code.
func Code(n *int) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprint(*n)
}

// jobOf is the job of a task, by its id.
func jobOf(task string) string { return task[:max(0, strings.LastIndexByte(task, '.'))] }
