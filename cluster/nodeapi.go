package cluster

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/mesos/agent"
	"github.com/mesita/mesita/api/mesos/node"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/logs"
)

// newNodeAPI makes what answers operators of this node in the words of Mesos.
func (a *Agent) newNodeAPI(authn *auth.Authenticator) {
	a.nodeAPI = node.New(node.Config{Store: a.store, Cluster: members{a}, Auth: authn, Host: host{a}, Self: a.ownRow, Now: a.cfg.Now, Started: a.cfg.Now(), Log: a.log, NodeName: a.self.Name,
		Version: a.cfg.Version, Floods: &a.floods, Audit: a.audit})
}

// ownRow is this node as the cluster has it, as far as that is known here.
func (a *Agent) ownRow() *api.Node {
	if n := a.store.View().Node(a.self.NodeID); n != nil {
		return n
	}
	n := &api.Node{ID: a.self.NodeID, Name: a.self.Name, Addr: a.addr, Attrs: a.attrs()}
	if res, err := a.cfg.resources(); err == nil {
		n.Resources = res
	}
	return n
}

// withNode serves the paths of an agent of Mesos beside those of a master.
func (a *Agent) withNode(cred auth.Credentials, rest http.Handler) http.Handler {
	own := a.operators(cred)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, node.Prefix+"/") && !agent.Serves(r.URL.Path) {
			own.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
}

// operators serves them. A node that does not vote speaks for nobody who shows nothing.
func (a *Agent) operators(cred auth.Credentials) http.Handler {
	own := a.nodeAPI.Handler(cred)
	if cred != auth.Anybody && cred != auth.Outsiders {
		return own
	}
	shown := a.nodeAPI.Handler(auth.Bearer)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.hasState() {
			own.ServeHTTP(w, r)
			return
		}
		shown.ServeHTTP(w, r)
	})
}

// onLoopback serves executors, and operators beside them. Any process of this machine
// reaches it, those of tasks too, which --mesos-anonymous is not for.
func (a *Agent) onLoopback() http.Handler {
	cred := auth.Bearer
	if a.cfg.MesosAnonymous {
		cred = auth.Outsiders
	}
	operators := a.operators(cred)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if agent.Serves(r.URL.Path) {
			a.executors.ServeHTTP(w, r)
			return
		}
		if t := a.executors.Holder(r); t != nil {
			r = node.OfExecutor(r, t.Partition, node.Container(t))
		}
		operators.ServeHTTP(w, r)
	})
}

// host is what the API of a node asks of this node's executor.
type host struct{ *Agent }

var _ node.Host = host{}

func (h host) Run(ctx context.Context, c node.Command, begin func() (node.IO, error)) (node.Exit, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res, err := h.exec.Beside(ctx, executor.ExecRequest{Task: c.Task, Attempt: c.Attempt, Command: c.Args, Env: c.Env, TTY: c.TTY, Size: keeper.Size(c.Size), Begin: func(e *executor.ExecRequest) error {
		stdio, err := begin()
		if err != nil {
			return err
		}
		e.Stdin, e.Stdout, e.Stderr, e.Signals = stdio.Stdin, stdio.Stdout, stdio.Stderr, stdio.Signals
		e.Resize = resizes(ctx, stdio.Resize)
		return nil
	}})
	return node.Exit{Code: res.Code, Signal: syscall.Signal(res.Signal)}, err
}

func (h host) Open(ctx context.Context, task string, attempt int) (node.Terminal, error) {
	t, err := h.exec.Terminal(ctx, task, attempt)
	if err != nil {
		return nil, err
	}
	return screen{t}, nil
}

// screen is a task's terminal.
type screen struct{ *keeper.Terminal }

func (s screen) Resize(size node.Size) { s.Terminal.Resize(keeper.Size(size)) }

func (h host) Read(ctx context.Context, task string, attempt int, after [2]int64, follow bool, take func(node.Output) error) error {
	opts := executor.LogOptions{Follow: follow, Stdout: after[0] >= 0, Stderr: after[1] >= 0}
	for i, n := range after {
		opts.After[i] = max(n, 0)
	}
	r, err := h.exec.Logs(ctx, task, attempt, opts)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		e, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		o := node.Output{Stderr: e.Stream == logs.Stderr, Data: e.Data, Lost: e.Missing, Pos: e.Pos[0]}
		if o.Stderr {
			o.Pos = e.Pos[1]
		}
		if err := take(o); err != nil {
			return err
		}
	}
}

func (h host) Written(task string, attempt int) ([2]int64, time.Time, error) {
	return h.exec.Written(task, attempt)
}

func (h host) Folder(task string, attempt int, s *api.TaskSpec) string {
	return h.exec.Folder(task, attempt, s)
}

func (h host) Stats(ctx context.Context) ([]api.TaskStats, error) {
	return local(h).Stats(ctx, api.StatsAll)
}
