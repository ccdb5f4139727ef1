// Package framework is for schedulers of one's own: programs that are offered room of a
// cluster, and say what starts there.
//
// It owns the subscription: that it is made again when the leader changes or a connection
// breaks, that each update is acknowledged once it was heard, that what became of the tasks
// meanwhile is asked for, and that each offer is answered. It does not own what is started
// where, nor what must outlive the program: that is the scheduler's. Programs of users call
// it; mesita itself does not.
package framework

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/api/client"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// Framework is a scheduler. Name is needed; the rest may be left out. Its functions are
// called one at a time, by Run, and no more events are heard until they return; they may
// call its methods.
type Framework struct {
	Name  string
	Roles []string // the partitions in which it is offered room; default "*", which is "default"
	User  string   // as whom its tasks run if they do not say; "" = as is usual in the partition
	// ID takes over the framework that an earlier run was, with its tasks. Subscribed gives
	// it. FailoverTimeout is how long its tasks run on while it is not connected.
	ID              string
	FailoverTimeout time.Duration
	// Refuse is how long the node of an offer in which nothing was started is not to be
	// offered again, unless there is more of it; default 5 s.
	Refuse time.Duration
	// Info changes what else the framework says of itself.
	Info func(*v1.FrameworkInfo)
	Log  *slog.Logger // default: nothing is logged

	Subscribed func(id string)
	Offer      func(*Offer)
	Update     func(Update)
	// Event hears of each event, before the functions above.
	Event func(*v1.SchedulerEvent)

	mu     sync.Mutex
	client *client.Client
	stream string
	ended  bool
	live   map[string]*v1.AgentID // the tasks that were started and did not end, as far as it heard
}

// Update says what became of a task.
type Update struct {
	*v1.TaskStatus
	Task string
}

// Ended reports whether the task is over, which one whose node is unreachable is not, and
// one that the cluster does not know is.
func (u Update) Ended() bool {
	switch u.State {
	case v1.TaskStateStaging, v1.TaskStateStarting, v1.TaskStateRunning, v1.TaskStateKilling, v1.TaskStateUnreachable:
		return false
	}
	return true
}

const (
	maxEvent = 64 << 20 // bytes of one event
	retry    = 50 * time.Millisecond
	maxRetry = 2 * time.Second
	silence  = 60 * time.Second // four heartbeats
)

// Run subscribes, and calls the functions of f until ctx ends or Teardown is called, which
// is not an error. It connects again for as long as the patience of c lasts each time. It fails
// when the cluster refuses the framework, when another program took it over, and when no
// node can be reached. A Framework runs once.
func (f *Framework) Run(ctx context.Context, c *client.Client) error {
	f.mu.Lock()
	f.client, f.live = c, map[string]*v1.AgentID{}
	f.mu.Unlock()
	if f.Log == nil {
		f.Log = slog.New(slog.DiscardHandler)
	}
	for wait := backoff.New(retry, maxRetry); ; {
		began := time.Now()
		err := f.session(ctx)
		if time.Since(began) > maxRetry {
			wait.Reset()
		}
		var gone *broken
		switch {
		case ctx.Err() != nil || f.over():
			return nil
		case !errors.As(err, &gone):
			return err
		}
		f.Log.Warn("subscribe again", "framework", f.ID, "err", err)
		if !wait.Wait(ctx) {
			return nil
		}
	}
}

// broken is a subscription that ended, and can be made again.
type broken struct{ err error }

func (e *broken) Error() string { return "the subscription ended: " + e.err.Error() }
func (e *broken) Unwrap() error { return e.err }

// session is one subscription.
func (f *Framework) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	res, err := f.subscribe(ctx)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	quiet := time.AfterFunc(silence, func() { cancel(fmt.Errorf("nothing was heard for %v", silence)) })
	defer quiet.Stop()
	for records := wire.NewRecordReader(res.Body, maxEvent); ; {
		record, err := records.Next()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return &broken{err}
		}
		quiet.Reset(silence)
		var e v1.SchedulerEvent
		if err := wire.Unmarshal(wire.Protobuf, record, &e); err != nil {
			return &broken{err}
		}
		if err := f.hear(ctx, &e); err != nil {
			return err
		}
		quiet.Reset(silence)
	}
}

func (f *Framework) subscribe(ctx context.Context) (*http.Response, error) {
	info := &v1.FrameworkInfo{Name: f.Name, User: f.User, Roles: f.Roles, FailoverTimeout: new(f.FailoverTimeout.Seconds()), Checkpoint: new(true),
		Capabilities: []*v1.FrameworkInfoCapability{{Type: new(v1.FrameworkInfoCapabilityTypeMultiRole)}, {Type: new(v1.FrameworkInfoCapabilityTypePartitionAware)}}}
	if len(info.Roles) == 0 {
		info.Roles = []string{"*"}
	}
	if f.Info != nil {
		f.Info(info)
	}
	call := &v1.SchedulerCall{Type: new(v1.SchedulerCallTypeSubscribe), Subscribe: &v1.SchedulerCallSubscribe{FrameworkInfo: info}}
	if f.ID != "" {
		info.ID = &v1.FrameworkID{Value: f.ID}
		call.FrameworkID = info.ID
	}
	b, err := wire.Marshal(wire.Protobuf, call)
	if err != nil {
		return nil, err
	}
	res, err := f.client.Scheduler(ctx, "", b)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.stream = client.StreamID(res)
	f.mu.Unlock()
	return res, nil
}

func (f *Framework) hear(ctx context.Context, e *v1.SchedulerEvent) error {
	if f.Event != nil {
		f.Event(e)
	}
	switch v1.Get(e.Type) {
	case v1.SchedulerEventTypeSubscribed:
		return f.begin(ctx, e.Subscribed.FrameworkID.Value)
	case v1.SchedulerEventTypeOffers:
		for _, o := range e.Offers.Offers {
			if err := f.offered(ctx, o); err != nil {
				return err
			}
		}
	case v1.SchedulerEventTypeUpdate:
		return f.heard(ctx, e.Update.Status)
	case v1.SchedulerEventTypeError:
		return api.Errorf(api.CodeFailed, "the cluster ended the subscription of framework %s: %s", cmp.Or(f.ID, f.Name), e.Error.Message)
	}
	return nil
}

// begin asks what became of the tasks while nobody listened.
func (f *Framework) begin(ctx context.Context, id string) error {
	f.mu.Lock()
	taken := f.ID != "" && len(f.live) == 0
	f.ID = id
	ask := &v1.SchedulerCallReconcile{}
	for task, agent := range f.live {
		ask.Tasks = append(ask.Tasks, &v1.SchedulerCallReconcileTask{TaskID: &v1.TaskID{Value: task}, AgentID: agent})
	}
	f.mu.Unlock()
	if f.Subscribed != nil {
		f.Subscribed(id)
	}
	if len(ask.Tasks) == 0 && !taken {
		return nil
	}
	return f.send(ctx, v1.SchedulerCallTypeReconcile, &v1.SchedulerCall{Reconcile: ask})
}

// heard tells of an update, and acknowledges it after that.
func (f *Framework) heard(ctx context.Context, s *v1.TaskStatus) error {
	u := Update{TaskStatus: s, Task: s.TaskID.Value}
	f.mu.Lock()
	if u.Ended() {
		delete(f.live, u.Task)
	} else {
		f.live[u.Task] = s.AgentID
	}
	f.mu.Unlock()
	if f.Update != nil {
		f.Update(u)
	}
	if len(s.UUID) == 0 || s.AgentID == nil || f.over() {
		return nil
	}
	return f.send(ctx, v1.SchedulerCallTypeAcknowledge, &v1.SchedulerCall{Acknowledge: &v1.SchedulerCallAcknowledge{AgentID: s.AgentID, TaskID: s.TaskID, UUID: s.UUID}})
}

// Call sends a call of any kind. It fails while the framework is not subscribed.
func (f *Framework) Call(ctx context.Context, kind v1.SchedulerCallType, call *v1.SchedulerCall) error {
	f.mu.Lock()
	c, id, stream := f.client, f.ID, f.stream
	f.mu.Unlock()
	if stream == "" {
		return api.Errorf(api.CodeUnavailable, "framework %s is not subscribed", f.Name)
	}
	call.Type, call.FrameworkID = &kind, &v1.FrameworkID{Value: id}
	b, err := wire.Marshal(wire.Protobuf, call)
	if err != nil {
		return err
	}
	res, err := c.Scheduler(ctx, stream, b)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16)) // so that the connection can be used again
	return res.Body.Close()
}

// send is Call for what the next subscription makes good: without an answer this one ends.
func (f *Framework) send(ctx context.Context, kind v1.SchedulerCallType, call *v1.SchedulerCall) error {
	err := f.Call(ctx, kind, call)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%v: %w", kind, err)
	switch api.ErrorCode(err) {
	case api.CodeUnavailable, api.CodeUnknown, api.CodeBusy, api.CodeNotAllowed: // the last of a leader that does not know the subscription
		return &broken{err}
	}
	return err
}

// Kill ends a task; an update says when it ended.
func (f *Framework) Kill(ctx context.Context, task string) error {
	return f.Call(ctx, v1.SchedulerCallTypeKill, &v1.SchedulerCall{Kill: &v1.SchedulerCallKill{TaskID: &v1.TaskID{Value: task}}})
}

// Revive asks for offers again, also of what was refused.
func (f *Framework) Revive(ctx context.Context) error {
	return f.Call(ctx, v1.SchedulerCallTypeRevive, &v1.SchedulerCall{})
}

// Suppress asks for no more offers until Revive.
func (f *Framework) Suppress(ctx context.Context) error {
	return f.Call(ctx, v1.SchedulerCallTypeSuppress, &v1.SchedulerCall{})
}

// Teardown ends the framework for good, with all that it runs. Run returns.
func (f *Framework) Teardown(ctx context.Context) error {
	if err := f.Call(ctx, v1.SchedulerCallTypeTeardown, &v1.SchedulerCall{}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	return nil
}

func (f *Framework) over() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// Tasks are the ids of those that were started, or heard of, and did not end yet.
func (f *Framework) Tasks() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]string, 0, len(f.live))
	for id := range f.live {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}
