// Package agent serves the Mesos v1 executor API on a node: executors that frameworks
// brought subscribe here, are handed their tasks, and say what becomes of these.
//
// It owns who is subscribed, what of a task was handed out, and what executors said that
// the cluster has not taken yet. It does not own the executors' processes (package executor
// starts and ends them, as it does all), nor what their tasks hold and when they end
// (package fsm does). Package cluster gives it the assignments of the node and a listener.
package agent

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/api"
)

// Reporter takes statuses to the cluster. A call that fails is repeated.
type Reporter interface {
	Report(ctx context.Context, statuses []api.TaskStatus) error
}

// Processes ends the processes of executors.
type Processes interface {
	// End has the process of a task's attempt end, as one that is stopped does; the state
	// and the reason are told of it.
	End(task string, attempt int, state api.TaskState, reason api.Reason, message string)
}

// Config is what a Desk needs; all of it, except where noted.
type Config struct {
	NodeID, NodeName string
	Endpoint         string // IP:PORT where executors find the API
	Key              []byte // that tokens of executors are made with
	MustProve        bool   // an executor has to show its token
	Dir              string // remembers what was handed out, across starts of the daemon
	Reporter         Reporter
	Processes        Processes
	// Peer is the user of the process at the other end of a call's connection, and User who a
	// task runs as here; false is that nobody knows.
	Peer func(ctx context.Context) (uid uint32, known bool)
	User func(t *api.Task, s *api.TaskSpec) (uid uint32, known bool)
	// Message takes what an executor sends its framework to it, as far as that goes.
	Message func(ctx context.Context, framework, executor string, data []byte) error
	Now     func() time.Time
	Log     *slog.Logger
}

const (
	registerWithin = time.Minute      // from the start of an executor's process
	idleFor        = time.Minute      // of an executor that was never handed a task, and waits for none
	killMore       = 5 * time.Second  // beyond its grace, until its executor ends with a task that does not
	killOwn        = 15 * time.Minute // likewise, if the framework itself had it killed
)

// Desk hands tasks to executors.
type Desk struct {
	cfg     Config
	notes   notes
	held    atomic.Int64  // bytes of calls that are being read
	queued  atomic.Int64  // bytes of events that wait for executors
	large   chan struct{} // one slot: a large call is what it says, in memory
	wake    chan struct{}
	reports chan struct{} // one slot: an update waits

	mu    sync.Mutex
	ready bool             // what this node is to run is known
	fresh bool             // what is not handed out yet may be
	hosts map[string]*host // by the ids of the executors' own tasks
	named map[names]*host  // the same by what frameworks call them
	waits int              // bytes of updates that wait
	moved chan struct{}    // is closed, and made anew, when updates were taken
}

// New makes a Desk.
func New(cfg Config) *Desk {
	return &Desk{cfg: cfg, notes: notes{dir: cfg.Dir}, wake: make(chan struct{}, 1), reports: make(chan struct{}, 1), large: make(chan struct{}, 1),
		hosts: map[string]*host{}, moved: make(chan struct{})}
}

// Run sees to times that run out and takes updates to the cluster until ctx ends.
func (d *Desk) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { d.report(ctx) })
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer d.closeAll()
	for {
		timer.Reset(d.overdue())
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-d.wake:
		}
	}
}

func (d *Desk) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ready = false
	for _, h := range d.hosts {
		h.leave()
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
