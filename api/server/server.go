package server

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/budget"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/server/meter"
	"github.com/mesita/mesita/fsm"
)

// Cluster is what the server asks of the node it runs in about the others.
type Cluster interface {
	exchange.Cluster
	// Role is "voter", "voter, leader" or "worker".
	Role(nodeID string) string
	// OutOfRaft reports whether this node leads and a node takes no part in Raft.
	OutOfRaft(nodeID string) bool
	// Links says what is wrong with the links to the other voters, "" if
	// nothing is.
	Links() string
	Join(ctx context.Context, r api.JoinRequest) (*api.JoinGrant, error)
	// Renew signs a new certificate for a node; csr is DER, the answer PEM.
	Renew(ctx context.Context, nodeID string, csr []byte) ([]byte, error)
	// Seen is how far this node saw another come.
	Seen(nodeID string) Sighting
	// Level is the level of the cluster, and what its nodes know.
	Level() api.LevelStatus
	SetLevel(ctx context.Context, r api.LevelRequest, actor string) (api.LevelStatus, error)
	// HoldLevel makes this node hold the level, or not.
	HoldLevel(hold bool) error
	// Renewal answers a node that proves its key by a certificate request,
	// whatever became of its certificate. With relayed it asks no other node.
	Renewal(ctx context.Context, csr []byte, relayed bool) (*api.Renewal, error)
	// CAs is what leads from each key of the CA to the next. With relayed it asks no
	// other node.
	CAs(ctx context.Context, relayed bool) (*api.CARoots, error)
	// CA is how far a change of the CA's key is, RotateCA begins one.
	CA() api.CAStatus
	RotateCA(ctx context.Context, actor string) (api.CAStatus, error)
	// CheckState compares the states of all voters now.
	CheckState(ctx context.Context, actor string) (*api.StateCheck, error)
	// StateAnswer is what this node found after a StateCheck; false if it has
	// not hashed its state then.
	StateAnswer(of uint64) (api.StateAnswer, bool)
	// MayFetch says why a node gets no program from here, nil = it does.
	MayFetch(ctx context.Context, nodeID, digest string) error
	// Session is that of this daemon.
	Session() string
	// Claim makes a daemon the one that speaks for its node. That another does is
	// CodeConflict of api.FieldSession.
	Claim(ctx context.Context, nodeID string, c *api.SessionClaim) error
	RemoveNode(ctx context.Context, n *api.Node, force bool, actor string) error
	// MayRemoveNode is why RemoveNode would refuse, nil if it would not.
	MayRemoveNode(n *api.Node, force bool) error
	// DemoteNode takes a node's right to vote.
	DemoteNode(ctx context.Context, n *api.Node, actor string) (*api.Node, error)
}

// LogQuery says what of a task's log is wanted.
type LogQuery struct {
	Task    string
	Attempt int
	Follow  bool // until the attempt has ended
	Tail    int  // only the last so many lines; 0 = all, below 0 = none of what is there
	Since   time.Time
	After   [2]int64 // only what came after so many bytes of standard output and standard error
	Stdout  bool     // with neither Stdout nor Stderr: both
	Stderr  bool
}

// LogPiece is some bytes that a task wrote, or that some are missing.
type LogPiece struct {
	Time    time.Time
	Stream  string   // "stdout" or "stderr"
	Data    []byte   // valid until the next one
	Pos     [2]int64 // how many bytes of both there were with it; none of both: not known
	Missing int64    // so many bytes are missing, below 0: it is not known how many
	Why     string   // they are missing
}

// Size is that of a terminal.
type Size struct{ Rows, Cols uint16 }

// ExecRequest is a command to run beside a task.
type ExecRequest struct {
	Task    string
	Attempt int // 0: whichever runs
	Command []string
	TTY     bool
	Size    Size // at first, with TTY
}

// ExecIO is the caller's end of an executed command.
type ExecIO struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Resize <-chan Size

	Signals <-chan syscall.Signal // for the command, from its caller
}

// Local is what the server asks of this node's executor.
type Local interface {
	// Logs calls emit for each piece of the log, in order, until the log or ctx
	// ends or emit fails; with nil where no more is there for now.
	Logs(ctx context.Context, q LogQuery, emit func(*LogPiece) error) error
	// Exec runs a command and returns its exit code. It calls start once, when
	// it knows that the task runs; an error before that reaches the caller as
	// an HTTP error.
	Exec(ctx context.Context, r ExecRequest, start func() (ExecIO, error)) (exitCode int, err error)
	Stats(ctx context.Context, detail api.StatsDetail) ([]api.TaskStats, error)
	HasBlob(digest string) bool
	OpenBlob(digest string) (content io.ReadCloser, size int64, err error)
	PutBlob(digest string, size int64, fill func(io.Writer) error) error
	// Examine looks at what the node needs, in bounded time.
	Examine(ctx context.Context) []api.Check
	// DiskFull reports whether the data folder takes no more, and which it is.
	DiskFull() (folder string, full bool)
}

// Planner says what the scheduler would do.
type Planner interface {
	CheckFits(v *fsm.View, s *api.JobSpec) error
	// Plan says what a command that gives a job that spec would come to; nil:
	// none is needed. It ends with ctx.
	Plan(ctx context.Context, v *fsm.View, s *api.JobSpec, cmd fsm.Command) (*api.Plan, error)
	// PlanAll is Plan for all jobs of one command, by their names. It ends with ctx.
	PlanAll(ctx context.Context, v *fsm.View, cmd *fsm.ApplyAll) (map[string]*api.Plan, error)
	Explain(v *fsm.View, id string) (*api.Why, error)
}

// Moves says where tasks would go from nodes that are emptied or fuller than others. It
// ends with ctx.
type Moves interface {
	Drain(ctx context.Context, v *fsm.View, node string, deadline bool) (*api.DrainPlan, error)
	Rebalance(ctx context.Context, v *fsm.View, partition string, most int) (*api.RebalancePlan, error)
}

// Queue says what waits, in the order in which it will be served.
type Queue interface {
	// List is that in a view or one after it, which it tells; a row is made once it
	// is asked for. It ends with ctx.
	List(ctx context.Context, latest func() *fsm.View) (*fsm.View, iter.Seq2[*api.Job, func() *api.Queued], error)
	// Start is when the first waiting task of a job starts by that list, zero if nobody
	// knows. It is not known where the list would be too long to look. It ends with ctx.
	Start(ctx context.Context, latest func() *fsm.View, job string) (at time.Time, sure api.Sure, known bool, err error)
}

// Shares says what the allocator gives to whom.
type Shares interface {
	// Status lists all partitions by path.
	Status(v *fsm.View) []api.PartitionStatus
	// Plan says what a partition that is made or changed so would be; what would
	// be refused is an error.
	Plan(v *fsm.View, cmd *fsm.PartitionPut) (api.PartitionChange, error)
	// Foresee is Plan with what would come of it, which takes long. It ends with
	// ctx.
	Foresee(ctx context.Context, v *fsm.View, cmd *fsm.PartitionPut) (api.PartitionChange, error)
	// PlanRemove says what removing a partition would do; with drain, also one
	// with work in it.
	PlanRemove(v *fsm.View, path string, drain bool) (api.PartitionChange, error)
}

// History is what this node remembers of the events that the store has dropped.
type History interface {
	// Newest calls yield with the events that are wanted, the newest first, until
	// there are no more, yield is false or ctx ends.
	Newest(ctx context.Context, f api.EventFilter, yield func(*api.Event) bool) error
}

// Audit is what this node remembers of who did what.
type Audit interface {
	exchange.Auditor
	// Newest are up to so many of the newest records that are wanted, oldest first.
	Newest(ctx context.Context, f api.AuditFilter, limit int) ([]api.AuditRecord, error)
	// Verify looks whether all of it is as it was written, and for the record of
	// that number, 0 = none.
	Verify(ctx context.Context, number uint64) (*api.AuditCheck, error)
}

// Config is what a Server needs; all of it, except where noted.
type Config struct {
	Store    *fsm.Store
	Cluster  Cluster
	Local    Local
	Planner  Planner
	Moves    Moves
	Queue    Queue
	Shares   Shares
	History  History // nil = none
	Audit    Audit   // nil = none
	Auth     *auth.Authenticator
	Now      func() time.Time // for times that go into the state
	Forgets  func() bool      // whether Now is to be trusted with what cannot be made again; nil: always
	Log      *slog.Logger
	Version  string // of mesita
	NodeName string
	// MaxStreams bounds the event, log, exec and assignment streams open at a
	// time; 0 = DefaultStreams.
	MaxStreams int
	Floods     *budget.Floods // is told who is refused; may be nil
	Meter      *meter.Meter   // nil = one of its own
	Machine    Machine        // nil = nothing is told of it
}

// Machine is what metrics tell of the node itself.
type Machine interface {
	Raft() RaftState
	// CertificateEnds is when the node's own ends.
	CertificateEnds() time.Time
	// Disk is what is free where the data folder is.
	Disk() (free, total int64, err error)
}

// RaftState is how Raft does on a node. One that takes no part is a follower that hears
// of nothing.
type RaftState struct {
	State                      string // leader, follower, candidate, shutdown
	Term, Log, Commit, Applied uint64 // indexes of entries
	Waiting                    int    // commands that wait for an entry
	Voters                     int    // of the cluster, as the node knows it
}

// DefaultStreams is how many streams a node serves at a time.
const DefaultStreams = 512

// Server answers requests. It has no goroutines of its own.
type Server struct {
	Config
	table []*exchange.Route
	http  *exchange.Server
	gone  goneNodes
}

// New makes a Server.
func New(cfg Config) *Server {
	s := &Server{Config: cfg}
	if s.MaxStreams == 0 {
		s.MaxStreams = DefaultStreams
	}
	if s.Meter == nil {
		s.Meter = meter.New(cfg.Version, 0)
	}
	s.table = routeTable(s)
	for _, r := range s.table {
		s.Meter.Route(r.Method, r.Path, r.Lasting())
	}
	var audit exchange.Auditor
	if cfg.Audit != nil {
		audit = cfg.Audit
	}
	s.http = exchange.New(exchange.Config{Audit: audit, Store: cfg.Store, Cluster: cfg.Cluster, Auth: cfg.Auth, Now: cfg.Now, Log: cfg.Log,
		NodeName: cfg.NodeName, MaxStreams: s.MaxStreams, Patience: exchange.DefaultPatience(), Floods: cfg.Floods, Took: s.took}, s.table)
	return s
}

func (s *Server) took(r *exchange.Route, status int, took time.Duration) {
	s.Meter.Answered(r.Method, r.Path, status, r.Lasting(), took)
}

// Handler serves a listener whose callers prove themselves by cred.
func (s *Server) Handler(cred auth.Credentials) http.Handler { return s.http.Handler(cred) }

// call is a request that reached its handler, and what the handler works with.
type call struct {
	*exchange.Call
	*Server
}

// on makes a handler of this server's, which is asked once the caller may act on
// what the path names, as it is. What it answers is masked for the caller.
func (s *Server) on(handle func(*call) (any, error)) func(*exchange.Call) (any, error) {
	return func(c *exchange.Call) (any, error) {
		in := &call{c, s}
		in.before()
		if err := in.mayAsItIs(); err != nil {
			return nil, err
		}
		answer, err := handle(in)
		in.after(answer, err)
		return in.masked(answer), err
	}
}

const (
	headerTimeout = 10 * time.Second // to send a request's header
	idleTimeout   = 2 * time.Minute  // between the requests of a connection
	maxHeader     = 16 << 10

	// Of HTTP/2, which nodes and the command line do not speak. The connection
	// holds all this before anybody knows who is there.
	maxConcurrent = 32       // streams of a connection
	maxWindow     = 64 << 10 // bytes that were not read, of a stream and of a connection
	maxFrame2     = 16 << 10
)

// keepAlive is how often something is sent on what lasts and is silent, so that
// nobody on the way takes it for dead.
const keepAlive = 15 * time.Second

// NewHTTPServer is an http.Server with the bounds that the handlers count on:
// they set their own deadlines for bodies and answers.
func NewHTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxConcurrent, MaxReadFrameSize: maxFrame2,
			MaxReceiveBufferPerConnection: maxWindow, MaxReceiveBufferPerStream: maxWindow, SendPingTimeout: keepAlive},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return budget.ConnContext(auth.ConnContext(ctx, c), c)
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
