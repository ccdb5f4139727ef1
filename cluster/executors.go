package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/api/mesos"
	"github.com/mesita/mesita/api/mesos/agent"
	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/cluster/datadir"
	"github.com/mesita/mesita/executor"
)

// Where executors of frameworks find their node. The port is none that the kernel gives to
// connections of programs, which may have it when the daemon starts again, nor one of tasks.
// Root takes one that root alone may listen at: while its daemon is away, any other would be
// shown the tokens of executors there, and believed.
const (
	rootPortFirst     = 600
	rootPortLast      = 1023
	executorPortFirst = 10_000
	executorPortLast  = 19_999
	executorTries     = 50
	executorPatience  = 3 * time.Second // for the port of before, which a dying daemon may still have
)

// othersPorts are those of root's that services are known to have.
var othersPorts = []int{623, 631, 636, 646, 647, 664, 749, 750, 783, 847, 853, 860, 873, 902, 989, 990, 992, 993, 995}

// openForExecutors opens the ports of the executor API, on a node that runs something.
func (a *Agent) openForExecutors(l *listeners) (err error) {
	if a.cfg.VoterOnly {
		return nil
	}
	if l.executors, err = a.listenExecutors(); err != nil || a.cfg.MesosAgentPort == 0 {
		return err
	}
	at := net.JoinHostPort(a.executorIP(), strconv.Itoa(a.cfg.MesosAgentPort))
	if l.agent, err = net.Listen("tcp", at); err != nil {
		return listenError("mesos-agent-port", at, err)
	}
	return nil
}

// listenExecutors opens the port of the executor API, the same as before if it can be.
func (a *Agent) listenExecutors() (net.Listener, error) {
	e, err := a.dir.LoadExecutors()
	if err != nil {
		return nil, err
	}
	if e != nil {
		l, err := listenAgain(e.Addr)
		if err == nil {
			a.hosts = *e
			return l, nil
		}
		a.log.Warn("the executors of frameworks that run here will not find this node again: its port for them is taken, and it takes another", "address", e.Addr, "err", err)
	}
	l, err := listenAnywhere(a.executorIP())
	if err != nil {
		return nil, fmt.Errorf("find a port for the executors of frameworks: %w", err)
	}
	// Whoever has the port of before by now is shown tokens that were made with the key of then.
	a.hosts.Addr, a.hosts.Key = l.Addr().String(), make([]byte, 32)
	_, _ = rand.Read(a.hosts.Key) // it never fails
	return l, a.dir.SaveExecutors(&datadir.Executors{Addr: a.hosts.Addr, Key: a.hosts.Key})
}

// executorIP is the address of the executor API, which is in the clear: that of the machine
// to itself, or this node's among several on one.
func (a *Agent) executorIP() string {
	host, _, err := net.SplitHostPort(a.cfg.Listen)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsLoopback() {
		return host
	}
	return "127.0.0.1"
}

func listenAgain(addr string) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), executorPatience)
	defer cancel()
	for retry := backoff.New(50*time.Millisecond, 500*time.Millisecond); ; {
		l, err := net.Listen("tcp", addr)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || !retry.Wait(ctx) {
			return l, err
		}
	}
}

func listenAnywhere(ip string) (l net.Listener, err error) {
	first, last := executorPortFirst, executorPortLast
	if os.Geteuid() == 0 {
		first, last = rootPortFirst, rootPortLast
	}
	for range executorTries {
		port := first + mrand.IntN(last-first+1)
		if slices.Contains(othersPorts, port) {
			continue
		}
		if l, err = net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port))); err == nil {
			return l, nil
		}
	}
	return nil, err
}

// openDesk makes who hands frameworks' tasks to their executors.
func (a *Agent) openDesk(rep executor.Reporter) {
	a.executors = agent.New(agent.Config{NodeID: a.self.NodeID, NodeName: a.self.Name, Endpoint: a.hosts.Addr, Key: a.hosts.Key, MustProve: a.cfg.MesosExecutorAuth, Dir: a.dir.File("handed"),
		Reporter: rep, Processes: processes{a}, Peer: auth.PeerUID, User: a.userOf, Message: a.tellFramework, Now: a.cfg.Now, Log: a.log})
}

// userOf is who a task runs as here.
func (a *Agent) userOf(t *api.Task, s *api.TaskSpec) (uid uint32, known bool) {
	return a.exec.User(t, s)
}

// serveExecutors serves the executor API, in the clear on loopback.
func (a *Agent) serveExecutors(l net.Listener) {
	a.serveHTTP("executors", server.NewHTTPServer(a.onLoopback(), a.log), l)
}

// processes are those of executors.
type processes struct{ *Agent }

func (p processes) End(task string, attempt int, state api.TaskState, reason api.Reason, message string) {
	p.exec.End(task, attempt, state, reason, message)
}

// lastWords has what executors said of their tasks come before the end of the executors, and
// that wait until the cluster has it.
type lastWords struct {
	executor.Reporter
	desk *agent.Desk
}

func (w lastWords) Report(ctx context.Context, statuses []api.TaskStatus) error {
	for _, part := range w.desk.Before(statuses) {
		if err := w.Reporter.Report(ctx, part); err != nil {
			return err
		}
	}
	return w.Reporter.Report(ctx, statuses)
}

// executorEnv is what a task of a framework finds in its environment.
func (a *Agent) executorEnv(t *api.Task, s *api.TaskSpec, dir string) map[string]string {
	return a.executors.Env(t, time.Duration(s.StopGrace), dir)
}

// withProcess are the tasks that have a process here. An executor has room for what it runs:
// that is in its process. While nothing of that says how much memory there is, it has what is
// usual: no limit would be none.
func withProcess(as []api.Assignment) []api.Assignment {
	type key struct{ framework, executor string }
	var room map[key]api.Resources
	executors := false
	for i := range as {
		executors = executors || as[i].Task.Framework != nil && as[i].Task.Framework.IsExecutor
		if t := as[i].Task; t.Hosted() && !t.State.Final() {
			if room == nil {
				room = map[key]api.Resources{}
			}
			k := key{t.Framework.Framework, t.Framework.Executor}
			room[k] = room[k].Add(api.Resources{CPUs: t.Resources.CPUs, Mem: t.Resources.Mem, MemExtra: t.Resources.MemExtra, GPUs: t.Resources.GPUs})
		}
	}
	if room == nil && !executors {
		return as
	}
	out := make([]api.Assignment, 0, len(as))
	for _, a := range as {
		t := a.Task
		if t.Hosted() {
			continue
		}
		if f := t.Framework; f != nil && f.IsExecutor {
			with := *t
			if with.Resources = t.Resources.Add(room[key{f.Framework, f.Executor}]); with.Resources.MemLimit() == 0 {
				with.Resources.Mem = a.Spec.Mem
			}
			a.Task = &with
		}
		out = append(out, a)
	}
	return out
}

// tellFramework takes what an executor sends its framework to the leader, to which that is
// connected.
func (a *Agent) tellFramework(ctx context.Context, framework, executorID string, data []byte) error {
	m := &mesos.Message{Framework: framework, Executor: executorID, Node: a.self.NodeID, Data: data}
	if a.raft.IsLeader() {
		return a.mesos.ToFramework(m)
	}
	return a.callLeader(ctx, http.MethodPost, mesos.ToFrameworkPath, m, nil)
}

// tellExecutor takes what a framework sends an executor to the node where that runs.
func (a *Agent) tellExecutor(ctx context.Context, m *mesos.Message) error {
	if m.Node == a.self.NodeID {
		return a.hearFramework(m)
	}
	return a.peers.call(ctx, m.Node, http.MethodPost, mesos.ToExecutorPath, m, nil)
}

// hearFramework hands an executor that runs here what its framework sends.
func (a *Agent) hearFramework(m *mesos.Message) error {
	return a.executors.Send(m.Framework, m.Executor, m.Data)
}
