// Package node serves the Mesos v1 operator API of an agent, each node for itself: what
// runs here, the folders and the output of tasks, and commands beside them.
//
// It owns what these calls mean here, who may make them, and the commands that run beside
// tasks (in the words of Mesos nested containers) until they have ended. It does not own
// tasks, nor how a process is started (package executor does), nor the executor API, which
// is at the same address (api/mesos/agent). Package cluster gives it listeners, and says
// what the node is to run.
package node

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/budget"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// Size is that of a terminal.
type Size struct{ Rows, Cols uint16 }

// Command is what runs beside an attempt of a task.
type Command struct {
	Task    string
	Attempt int
	Args    []string
	Env     map[string]string // on top of the task's
	TTY     bool
	Size    Size // of the terminal at first
}

// IO are the ends of a command's input and output.
type IO struct {
	Stdin          io.Reader // nil: nothing to read
	Stdout, Stderr io.Writer
	Resize         <-chan Size
	Signals        <-chan syscall.Signal
}

// Exit is how a command ended.
type Exit struct {
	Code   int
	Signal syscall.Signal // 0 = none
}

// Terminal is that of a task, to who types at it.
type Terminal interface {
	io.WriteCloser
	Resize(s Size)
}

// Output is a piece of what a task wrote.
type Output struct {
	Stderr bool
	Data   []byte // valid until the next one
	Pos    int64  // bytes of its stream before and with it
	Lost   int64  // so many bytes are not kept any more here, below 0: nobody knows how many
}

// Host is this node's executor.
type Host interface {
	// Run runs a command until it ends. When ctx ends it is hung up, and killed if it stays.
	// It calls begin once the command has begun, or takes long to.
	Run(ctx context.Context, c Command, begin func() (IO, error)) (Exit, error)
	// Open is the terminal of a running attempt.
	Open(ctx context.Context, task string, attempt int) (Terminal, error)
	// Read hands out what an attempt wrote after so many bytes of each of its streams, until
	// its end with follow, else what is there.
	Read(ctx context.Context, task string, attempt int, after [2]int64, follow bool, take func(Output) error) error
	// Written is how many bytes an attempt has written to each of its streams, and when last.
	Written(task string, attempt int) (bytes [2]int64, at time.Time, err error)
	// Folder is an attempt's own; "" if it works in one that is not.
	Folder(task string, attempt int, s *api.TaskSpec) string
	Stats(ctx context.Context) ([]api.TaskStats, error)
}

// Config is what a Server needs; all of it, except where noted.
type Config struct {
	Store    *fsm.Store
	Cluster  exchange.Cluster
	Auth     *auth.Authenticator
	Host     Host
	Self     func() *api.Node // this node, as it says of itself where the state has none
	Now      func() time.Time
	Started  time.Time // the daemon
	Log      *slog.Logger
	NodeName string
	Version  string
	Floods   *budget.Floods   // may be nil
	Audit    exchange.Auditor // may be nil
}

// What the API holds at a time.
const (
	maxStreams  = 1024 // calls that last
	maxAttached = 256  // that carry input or output
	maxNested   = 256  // commands beside tasks
	maxOfTask   = 32   // of one task
	maxEach     = 64   // of either of one caller
	maxReading  = 16   // reads of files and logs
	maxReads    = 4    // of these of one caller
	maxEnded    = 1000 // that have ended, and are remembered
	maxRecent   = 1000 // attempts that have ended, whose folders and output may still be there
)

// Server answers operators of this node.
type Server struct {
	Config
	http   *exchange.Server
	starts chan func(ctx context.Context)

	attached *budget.Budget // who carries input or output
	commands *budget.Budget // beside tasks
	reading  *budget.Budget // of files and logs

	mu        sync.Mutex
	assigned  map[string]*api.Assignment // by their containers
	tasksHere []*api.Task                // all that this node is to run, those of executors too
	recent    []*api.Assignment          // oldest first
	nested    map[string]*nested         // by their containers, those that ended too
	ended     []*nested                  // oldest first
}

// shared has callers hold so many of something together, each a part of that.
func (s *Server) shared(of string, all, each int64) *budget.Budget {
	l := budget.Limits{Total: all, Each: each}
	return budget.New(budget.Config{Of: of, Limits: [3]budget.Limits{l, l, l}, Log: s.Log, Floods: s.Floods})
}

// hold counts what a caller holds, until it is released.
func hold(b *budget.Budget, c *exchange.Call) (release func(), err error) {
	who := c.Who()
	if err := b.Take(who, 1); err != nil {
		return nil, problemOf(err)
	}
	return func() { b.Give(who, 1) }, nil
}

// New makes a Server.
func New(cfg Config) *Server {
	s := &Server{Config: cfg, starts: make(chan func(ctx context.Context)), assigned: map[string]*api.Assignment{}, nested: map[string]*nested{}}
	s.attached, s.commands, s.reading = s.shared("attachments to containers", maxAttached, maxEach), s.shared("commands beside tasks", maxNested, maxEach), s.shared("reads of files", maxReading, maxReads)
	s.http = exchange.New(exchange.Config{Store: cfg.Store, Cluster: cfg.Cluster, Auth: cfg.Auth, Now: cfg.Now, Log: cfg.Log, NodeName: cfg.NodeName,
		MaxStreams: maxStreams, Patience: exchange.DefaultPatience(), Floods: cfg.Floods, Audit: cfg.Audit}, s.routes())
	return s
}

// Handler serves a listener whose callers prove themselves by cred.
func (s *Server) Handler(cred auth.Credentials) http.Handler { return s.http.Handler(cred) }

// Run has commands run until ctx ends, and waits for them.
func (s *Server) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case start := <-s.starts:
			work.Go(func() { start(ctx) })
		}
	}
}

// Assign takes the full set of what this node is to run.
func (s *Server) Assign(as []api.Assignment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[string]*api.Assignment, len(as))
	s.tasksHere = make([]*api.Task, 0, len(as))
	for i := range as {
		s.tasksHere = append(s.tasksHere, as[i].Task)
		if t := as[i].Task; !t.Hosted() {
			next[container(t)] = &as[i]
		}
	}
	for id, a := range s.assigned {
		if next[id] == nil {
			s.recent = append(s.recent, a)
		}
	}
	if more := len(s.recent) - maxRecent; more > 0 {
		s.recent = append([]*api.Assignment(nil), s.recent[more:]...)
	}
	s.assigned = next
}
