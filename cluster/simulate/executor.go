package simulate

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// runKey names a task.
type runKey struct{ job, index int } // the place in the trace, and the task's index

func compareRunKeys(a, b runKey) int {
	return cmp.Or(cmp.Compare(a.job, b.job), cmp.Compare(a.index, b.index))
}

// run is an attempt of a task on a node.
type run struct {
	key     runKey
	task    string
	attempt int
	node    int
	need    time.Duration // what is to be done; 0: without end
	limit   bool          // need is the limit its user set, which ends it
	began   time.Duration
	done    time.Duration // before since
	since   time.Duration // when it was last set going or brought to a halt
	halted  bool          // frozen, or told to end
	frozen  bool
	gen     int
	pieces  []piece
	ended   outcome    // what the executor itself said of the end
	reason  api.Reason // why it was told to stop
}

// piece is a time in which an attempt held the same.
type piece struct {
	from, to time.Duration
	frozen   bool
}

// outcome is what became of an attempt.
type outcome uint8

const (
	outcomeNone      outcome = iota
	outcomeFinished          // did its work
	outcomeLimit             // ran into its time limit
	outcomePreempted         // was preempted: its work is lost
	outcomeNodeLost          // its node failed: its work is lost
	outcomeStopped           // a service that was stopped
	outcomeCut               // still running when the simulation ended
)

// outcomes are the words for them in a list of attempts.
var outcomes = [...]string{"", "finished", "time_limit", "preempted", "node_lost", "stopped", "running"}

// executors does what the nodes would do about what the cluster wants of them
// now, and returns their reports.
func (s *simulator) executors() []fsm.Command {
	changes, all := s.forTask.Take()
	v := s.store.View()
	var keys []runKey
	if all {
		for t := range v.Tasks() {
			if i, ok := s.byID[t.Job]; ok {
				keys = append(keys, runKey{i, t.Index})
			}
		}
		for k := range s.runs {
			keys = append(keys, k)
		}
	}
	for ch := range changes {
		if k, ok := s.key(ch.ID); ok {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compareRunKeys)
	for _, k := range slices.Compact(keys) {
		s.look(k, v.TaskOf(s.jobs[k.job].id, k.index))
	}
	return s.reports()
}

func (s *simulator) key(task string) (runKey, bool) {
	dot := strings.LastIndexByte(task, '.')
	if dot < 0 {
		return runKey{}, false
	}
	index, err := strconv.Atoi(task[dot+1:])
	i, ok := s.byID[task[:dot]]
	return runKey{i, index}, ok && err == nil
}

// reports takes what the executors have to say.
func (s *simulator) reports() []fsm.Command {
	if len(s.out) == 0 {
		return nil
	}
	cmd := &fsm.TaskReport{Meta: s.meta(), Statuses: s.out}
	s.out = nil
	return []fsm.Command{cmd}
}

func (s *simulator) report(r *run, st api.TaskStatus) {
	st.Task, st.Attempt, st.NodeID, st.Time = r.task, r.attempt, s.nodes[r.node].id, s.clock()
	s.out = append(s.out, st)
}

// startAtOnce adds the executors' reports to placements: here a task runs as
// soon as it is placed. Those of a placement that is refused are ignored.
func (s *simulator) startAtOnce(cmds []fsm.Command) []fsm.Command {
	report := &fsm.TaskReport{Meta: s.meta()}
	for _, c := range cmds {
		if place, ok := c.(*fsm.TaskPlace); ok {
			for i := range place.Placements {
				p := &place.Placements[i]
				report.Statuses = append(report.Statuses, api.TaskStatus{Task: api.TaskID(p.Job, p.Index), Attempt: p.Attempt, NodeID: p.NodeID,
					State: api.TaskRunning, PID: 1, Time: s.clock()})
			}
		}
	}
	if len(report.Statuses) == 0 {
		return cmds
	}
	return append(cmds, report)
}

// look compares a task with the run of it.
func (s *simulator) look(k runKey, t *api.Task) {
	r := s.runs[k]
	if r != nil && (t == nil || t.Attempt != r.attempt || !t.Holds()) {
		s.gone(r, t)
		r = nil
	}
	if t == nil || !t.Holds() {
		if t != nil && t.State.Final() && t.NodeID == "" {
			s.drop(k)
		}
		return
	}
	if r == nil {
		r = s.begin(k, t)
	}
	switch {
	case t.Desired == api.DesiredStop || t.Desired == api.DesiredMove:
		s.stop(r, t)
	case frozen(t) && !r.frozen:
		s.halt(r)
		s.yielded(r)
		r.frozen = true
		s.rec.freeze(r, true)
	case wantsFreeze(t) && !r.frozen:
		s.report(r, freezeStatus())
	case !frozen(t) && !wantsFreeze(t) && r.frozen:
		s.goOn(r)
	}
}

// drop counts a task that ended while it waited, with the rest of its gang.
func (s *simulator) drop(k runKey) {
	if !s.dropped[k] {
		s.dropped[k] = true
		s.open--
		s.rec.drop(k.job)
	}
}

// begin sets a placed task going.
func (s *simulator) begin(k runKey, t *api.Task) *run {
	j := &s.jobs[k.job]
	r := &run{key: k, task: t.ID, attempt: t.Attempt, node: s.nodeOf[t.NodeID], began: s.now, since: s.now}
	if j.Kind == api.KindBatch {
		r.need = j.TaskRuntime(k.index)
		if j.Time > 0 && j.Time < r.need {
			r.need, r.limit = j.Time, true
		}
		s.plan(r)
	} else if !j.started && j.Runtime > 0 {
		s.queue.push(event{at: s.now + j.Runtime, kind: serviceEnds, item: k.job})
	}
	j.started = true
	s.runs[k] = r
	s.rec.begin(r, s.now)
	return r
}

// plan makes the event of the run's end.
func (s *simulator) plan(r *run) {
	if r.need > 0 {
		s.queue.push(event{at: s.now + r.need - r.done, kind: taskEnds, run: r, gen: r.gen})
	}
}

// halt brings a run's progress to a stop.
func (s *simulator) halt(r *run) {
	if !r.halted {
		r.done += s.now - r.since
	}
	s.cut(r)
	r.halted = true
	r.gen++
}

// cut ends the piece of time that began at since.
func (s *simulator) cut(r *run) {
	if s.now > r.since {
		r.pieces = append(r.pieces, piece{r.since, s.now, r.frozen})
	}
	r.since = s.now
}

func (s *simulator) goOn(r *run) {
	s.cut(r)
	r.frozen, r.halted = false, false
	s.rec.freeze(r, false)
	r.gen++
	s.plan(r)
}

// stop ends a run as told to, after the time that takes.
func (s *simulator) stop(r *run, t *api.Task) {
	if r.ended != outcomeNone {
		return
	}
	s.halt(r)
	r.ended = outcomePreempted
	if t.Desired == api.DesiredStop {
		r.ended = outcomeStopped
	}
	r.reason = t.Reason
	if s.cluster.Stop > 0 {
		s.queue.push(event{at: s.now + time.Duration(s.cluster.Stop), kind: taskKilled, run: r, gen: r.gen})
		return
	}
	s.report(r, api.TaskStatus{State: api.TaskKilled, Reason: r.reason})
}

// runEvent is the end of a run, if nothing came between.
func (s *simulator) runEvent(e *event) {
	r := e.run
	if r.gen != e.gen || s.runs[r.key] != r {
		return
	}
	switch {
	case e.kind == taskKilled:
		s.report(r, api.TaskStatus{State: api.TaskKilled, Reason: r.reason})
	case r.limit:
		r.ended = outcomeLimit
		s.report(r, api.TaskStatus{State: api.TaskFailed, Reason: api.ReasonTimeLimit})
	default:
		r.ended = outcomeFinished
		s.report(r, api.TaskStatus{State: api.TaskFinished, Reason: api.ReasonExited, ExitCode: new(int)})
	}
}

// gone closes a run whose attempt is over. What the executor did not end
// itself ended with its node.
func (s *simulator) gone(r *run, t *api.Task) {
	if r.ended == outcomeNone {
		r.ended = outcomeNodeLost
	}
	if r.ended == outcomePreempted {
		s.yielded(r)
	}
	s.cut(r)
	r.gen++
	delete(s.runs, r.key)
	s.rec.end(r, s.now)
	if t == nil || t.State.Final() {
		if s.jobs[r.key.job].Kind == api.KindBatch {
			s.open--
			if r.ended == outcomeNodeLost || r.ended == outcomePreempted {
				s.rec.abandon(r)
			}
		}
		return
	}
	s.rec.requeue(r)
}
