package agent

import (
	"crypto/rand"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// host is an executor that is to run here, with its tasks.
type host struct {
	row   *api.Task
	spec  *api.TaskSpec
	info  about
	wrong error // why info cannot be read

	uid    uint32 // who it runs as
	hasUID bool   // that is known
	proven bool   // it showed its token, and has to from then on

	seen       time.Time // when its process was first known to run, by this daemon
	subscribed bool      // it has been, since this daemon began
	handed     bool      // it was handed a task
	idle       time.Time // since when it has had none
	behind     bool      // tasks wait until it has read of others
	ended      bool      // its end was asked for here
	ending     bool      // it was told to end
	out        *stream   // nil while it is not subscribed
	tasks      map[string]*task
	noted      map[string]bool // the ids of tasks that may have been handed out; nil: not read yet
	lines      int             // of the file that has these
	waits      int             // bytes of updates that wait
}

// names are by what a framework knows an executor.
type names struct{ framework, executor string }

// about is what the cluster has of an executor.
type about struct {
	Executor  *v1.ExecutorInfo  `wire:"1,executor_info,required"`
	Framework *v1.FrameworkInfo `wire:"2,framework_info,required"`
}

// task is one that an executor runs, or is to.
type task struct {
	row     *api.Task
	grace   time.Duration
	handed  bool      // its LAUNCH is on its way, or the executor said that it has it
	spoke   bool      // its executor has said something of it
	killed  time.Time // since when it is to end; zero: it is not
	told    bool      // its executor was sent that, as far as it is subscribed
	over    bool      // it ended: there is nothing to be done with it any more
	gone    bool      // the cluster has it here no more
	waiting []update  // what its executor said and the cluster has not taken, oldest first
	last    string    // id of the last that it took
	pace    pace
}

func newHost(as *api.Assignment) *host {
	h := &host{row: as.Task, spec: as.Spec, tasks: map[string]*task{}}
	h.wrong = wire.Unmarshal(wire.Protobuf, as.Task.Framework.Info, &h.info)
	if h.wrong != nil {
		h.info = about{&v1.ExecutorInfo{ExecutorID: &v1.ExecutorID{Value: as.Task.Framework.Executor}}, &v1.FrameworkInfo{}}
	}
	return h
}

// container is how Mesos calls where an executor's process runs.
func container(t *api.Task) string { return t.ID + "-" + strconv.Itoa(t.Attempt) }

// task is the one that the framework knows by an id.
func (h *host) task(id string) *task {
	var found *task
	for _, t := range h.tasks {
		if t.row.Framework.ID == id && (found == nil || found.over || found.gone) {
			found = t
		}
	}
	return found
}

// leave ends the subscription, if there is one.
func (h *host) leave() {
	if h.out != nil {
		h.out.Close(nil)
		h.out = nil
	}
}

// Assign takes the full set of what this node is to run. What has a process is started and
// stopped by others; this is who is told of which task. Without fresh nothing that was not
// handed out yet is: the cluster may be about to have it run elsewhere.
func (d *Desk) Assign(as []api.Assignment, fresh bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer poke(d.wake)
	now := d.cfg.Now()
	d.fresh = fresh
	found := map[*host]bool{}
	for i := range as {
		if t := as[i].Task; t.Framework != nil && t.Framework.IsExecutor && !t.State.Final() {
			found[d.take(&as[i], now)] = true
		}
	}
	for id, h := range d.hosts {
		if !found[h] {
			h.leave()
			d.notes.forget(h)
			delete(d.hosts, id)
		}
	}
	d.named = make(map[names]*host, len(d.hosts))
	for _, h := range d.hosts {
		d.named[names{h.row.Framework.Framework, h.row.Framework.Executor}] = h
	}
	listed := map[*task]bool{}
	for i := range as {
		t := as[i].Task
		if !t.Hosted() || t.State.Final() {
			continue
		}
		if h := d.find(t.Framework.Framework, t.Framework.Executor); h != nil {
			listed[h.takeTask(&as[i])] = true
		}
	}
	d.waits = 0
	for _, h := range d.hosts {
		h.waits = 0
		for id, t := range h.tasks {
			for i := range t.waiting {
				h.waits += t.waiting[i].size()
			}
			if t.gone = !listed[t]; t.gone && len(t.waiting) == 0 {
				delete(h.tasks, id) // else its executor waits to hear that what it said was taken
			}
		}
		d.waits += h.waits
		d.serve(h, fresh, now)
	}
	if !d.ready {
		d.ready = true
		d.notes.tidy(d.hosts)
	}
}

// take takes in how an executor is to be.
func (d *Desk) take(as *api.Assignment, now time.Time) *host {
	h := d.hosts[as.Task.ID]
	if h == nil || h.row.Attempt != as.Task.Attempt {
		h = newHost(as)
		h.idle = now
		d.hosts[as.Task.ID] = h
		if h.wrong != nil {
			d.cfg.Log.Error("what a framework said of its executor cannot be read", "task", as.Task.ID, "error", h.wrong)
		}
	}
	h.row, h.spec = as.Task, as.Spec
	if h.seen.IsZero() && h.row.State == api.TaskRunning {
		h.seen = now
	}
	return h
}

func (h *host) takeTask(as *api.Assignment) *task {
	t := h.tasks[as.Task.ID]
	if t == nil || t.row.Attempt != as.Task.Attempt {
		t = &task{last: string(as.Task.Framework.Last)}
		h.tasks[as.Task.ID] = t
	}
	grace := time.Duration(as.Spec.StopGrace)
	if grace < t.grace {
		t.told = false // it has less time than its executor heard of
	}
	t.row, t.grace = as.Task, grace
	t.spoke = t.spoke || t.row.State != api.TaskStaging
	return t
}

// find is the executor of a framework, nil if none is to run here.
func (d *Desk) find(framework, executor string) *host { return d.named[names{framework, executor}] }

// stops reports whether the cluster wants a task to end here.
func stops(t *api.Task) bool { return t.Desired == api.DesiredStop || t.Desired == api.DesiredMove }

// serve tells an executor what there is to tell it; the caller holds the lock.
func (d *Desk) serve(h *host, fresh bool, now time.Time) {
	h.read(&d.notes)
	h.behind = false
	for _, t := range h.tasks {
		switch known := t.handed || t.spoke || h.noted[t.row.ID]; {
		case t.over || t.gone:
		case stops(t.row) && !known:
			d.never(h, t)
		case stops(t.row) && (t.killed.IsZero() || !t.told && h.out != nil):
			if t.killed.IsZero() {
				t.killed = now // also without its executor, which may never come back
			}
			if h.out != nil {
				t.told = true
				h.out.kill(t.row.Framework.ID, t.grace)
			}
		case stops(t.row), known, h.out == nil, !fresh, h.ended, h.ending, stops(h.row):
		case h.out.full():
			h.behind = true
		default:
			d.hand(h, t)
		}
	}
	if len(h.tasks) > 0 {
		h.idle = now
	}
}

// hand gives a task to its executor. That it may have it is noted first: whoever reads the
// note after the daemon was killed cannot know, and hands it out no second time.
func (d *Desk) hand(h *host, t *task) {
	info := &v1.TaskInfo{}
	if err := wire.Unmarshal(wire.Protobuf, t.row.Framework.Info, info); err != nil {
		d.end(h, t, api.TaskError, api.ReasonInternal, v1.TaskStatusReasonTaskInvalid, "what the framework said of the task cannot be read: "+err.Error())
		return
	}
	if err := d.notes.add(h, t.row.ID); err != nil {
		d.end(h, t, api.TaskFailed, api.ReasonDiskFull, v1.TaskStatusReasonContainerLaunchFailed, "that the task is handed to its executor cannot be noted: "+err.Error())
		return
	}
	t.handed, h.handed = true, true
	if err := d.notes.shorten(h); err != nil {
		d.cfg.Log.Debug("the note of what an executor was handed stays long", "executor", h.row.ID, "error", err)
	}
	e := event(v1.ExecutorEventTypeLaunch)
	e.Launch = &v1.ExecutorEventLaunch{Task: info}
	h.out.Push(e, nil)
}

// never ends a task that its executor was never told of.
func (d *Desk) never(h *host, t *task) {
	d.end(h, t, api.TaskKilled, api.ReasonNeverDelivered, v1.TaskStatusReasonTaskKilledDuringLaunch, "it was stopped before its executor was told of it")
}

// end says of a task, in the node's own name, that it has ended: to the cluster, and in the
// words of Mesos to its framework.
func (d *Desk) end(h *host, t *task, state api.TaskState, reason api.Reason, word v1.TaskStatusReason, message string) {
	now := d.cfg.Now()
	id := make([]byte, 16)
	_, _ = rand.Read(id) // it never fails
	f := t.row.Framework
	said, err := wire.Marshal(wire.Protobuf, &v1.TaskStatus{TaskID: &v1.TaskID{Value: f.ID}, State: stateNamed[state], Source: new(v1.TaskStatusSourceAgent), Reason: &word, Message: &message,
		AgentID: &v1.AgentID{Value: d.cfg.NodeID}, ExecutorID: &v1.ExecutorID{Value: f.Executor}, UUID: id, Timestamp: new(float64(now.UnixMicro()) / 1e6)})
	st := api.TaskStatus{Task: t.row.ID, Attempt: t.row.Attempt, NodeID: d.cfg.NodeID, State: state, Reason: reason, Message: message, Time: now}
	if err == nil {
		st.Update = &api.ExecutorUpdate{ID: id, Status: said}
	}
	t.over = true
	d.await(h, t, update{status: st})
}

// stateNamed are the states that this node itself says that a task has.
var stateNamed = map[api.TaskState]v1.TaskState{
	api.TaskKilled: v1.TaskStateKilled, api.TaskError: v1.TaskStateError, api.TaskFailed: v1.TaskStateFailed, api.TaskDropped: v1.TaskStateDropped,
}

// overdue ends what has had its time, and says when to look again.
func (d *Desk) overdue() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.cfg.Now()
	next := time.Hour
	due := func(at time.Time) bool {
		if left := at.Sub(now); left > 0 {
			next = min(next, left)
			return false
		}
		return true
	}
	d.unhurried(now, due)
	for _, h := range d.hosts {
		if h.ended || h.ending || h.seen.IsZero() {
			continue
		}
		switch {
		case !h.subscribed && due(h.seen.Add(registerWithin)):
			d.endHost(h, api.TaskFailed, api.ReasonExecutorSilent, "it did not subscribe within "+api.Duration(registerWithin).String()+" of its start: the executor API is at "+d.cfg.Endpoint)
		case h.out != nil && !h.handed && len(h.tasks) == 0 && due(h.idle.Add(idleFor)):
			d.endHost(h, api.TaskKilled, api.ReasonStopped, "it has had no task for "+api.Duration(idleFor).String())
		default:
			if t := h.stuck(due); t != nil {
				d.endHost(h, api.TaskKilled, t.row.Reason, "task "+t.row.Framework.ID+" did not end within its time to stop")
			}
		}
	}
	return next
}

// stuck is a task that has had its time to stop. Its framework knows best how long it takes
// what it had killed itself, but what that holds is not its for ever.
func (h *host) stuck(due func(time.Time) bool) *task {
	for _, t := range h.tasks {
		more := killMore
		if t.row.Reason == api.ReasonStopped {
			more = killOwn
		}
		if !t.killed.IsZero() && !t.over && !t.gone && due(t.killed.Add(t.grace+more)) {
			return t
		}
	}
	return nil
}

// endHost ends an executor, which is asked first if it can be.
func (d *Desk) endHost(h *host, state api.TaskState, reason api.Reason, message string) {
	h.ended = true
	d.cfg.Log.Info("an executor is ended", "task", h.row.ID, "why", message)
	d.cfg.Processes.End(h.row.ID, h.row.Attempt, state, reason, message)
}

// Ask tells an executor that is to end so, in its own way. Not if it cannot be told, and
// has to be sent its stop signal.
func (d *Desk) Ask(t *api.Task) bool {
	if t.Framework == nil || !t.Framework.IsExecutor {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.hosts[t.ID]
	if h == nil || h.row.Attempt != t.Attempt || h.out == nil {
		return false
	}
	if !h.ending {
		h.ending = true
		h.out.shutdown()
	}
	return true
}

// What waits of messages for one executor, and for all: they may be lost, and all else that
// executors are told may not, which needs its room.
const (
	maxMessages     = 1000
	maxMessageBytes = 8 << 20
	allMessageBytes = 64 << 20
)

// Send takes what a framework sends its executor to it, if that is subscribed and reads.
func (d *Desk) Send(framework, executor string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.find(framework, executor)
	if h == nil || h.out == nil {
		return api.NotFound("executor", executor)
	}
	if count, bytes := h.out.Waiting(); count > maxMessages || bytes > 0 && bytes+len(data) > maxMessageBytes || d.queued.Load()+int64(len(data)) > allMessageBytes {
		return api.Errorf(api.CodeUnavailable, "executor %s does not read what it is sent", executor)
	}
	e := event(v1.ExecutorEventTypeMessage)
	e.Message = &v1.ExecutorEventMessage{Data: data}
	h.out.Push(e, nil)
	return nil
}
