package node

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"syscall"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	"github.com/mesita/mesita/api/mesos/reply"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// nested is a command beside an attempt of a task, which Mesos calls a nested container.
type nested struct {
	key    string
	id     *v1.ContainerID
	of     string // the container of the attempt
	tty    bool
	cancel context.CancelCauseFunc
	out    *spread

	stdin   *feed // nil: it reads nothing
	resize  chan Size
	signals chan syscall.Signal
	typing  bool // somebody is attached to its input; guarded by Server.mu

	begun chan struct{} // closed when it has begun, or takes long to
	done  chan struct{} // closed when it has ended
	exit  Exit          // once done is closed
	err   error         // likewise: why it did not run
}

// Why a command is hung up whose end nobody waits for: how it ends is not known then.
var (
	errLeft     = errors.New("its caller left")
	errSurvived = errors.New("it was killed, and nobody told of its end")
)

// order is what is to run beside a task.
type order struct {
	id        *v1.ContainerID
	command   *v1.CommandInfo
	container *v1.ContainerInfo
	session   bool // its input and output are its callers'
}

// launchNested begins a command that outlives the call.
func (s *Server) launchNested(c *exchange.Call, r *request) (any, error) {
	o := order{}
	if l := r.call.LaunchContainer; r.kind == v1.AgentCallTypeLaunchContainer {
		if l.ContainerID.Parent == nil {
			return nil, &call.Problem{Status: http.StatusNotImplemented, Body: "mesita runs no standalone containers: what runs on a node is a task of a job or of a framework"}
		}
		if len(l.Resources) > 0 || len(l.Limits) > 0 {
			return nil, call.Bad("A nested container has no resources of its own here: it shares those of its task. Leave 'resources' and 'limits' out")
		}
		o = order{id: l.ContainerID, command: l.Command, container: l.Container}
	} else {
		l := r.call.LaunchNestedContainer
		o = order{id: l.ContainerID, command: l.Command, container: l.Container}
	}
	n, again, err := s.launch(c, &o, r.kind)
	if err != nil {
		return nil, err
	}
	if again {
		return reply.Done(c, http.StatusAccepted)
	}
	if err := n.awaitBegin(c.R.Context()); err != nil {
		return nil, err
	}
	return reply.Done(c, http.StatusOK)
}

// awaitBegin waits until it has begun, and says why it cannot.
func (n *nested) awaitBegin(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-n.begun:
		return nil
	case <-n.done:
	}
	select {
	case <-n.begun: // it began, and ended at once
		return nil
	default:
	}
	if n.err == nil {
		return nil
	}
	return problemOf(n.err)
}

// problemOf is why a command did not run, in an answer.
func problemOf(err error) error {
	e := exchange.AsError(err)
	status := http.StatusInternalServerError
	switch e.Code {
	case api.CodeInvalid, api.CodeConflict, api.CodeFailed, api.CodeNotFound:
		status = http.StatusBadRequest
	case api.CodeNotAllowed:
		return e
	case api.CodeBusy, api.CodeUnavailable:
		status = http.StatusServiceUnavailable
	}
	return &call.Problem{Status: status, Body: e.Message}
}

// launch begins a command beside a task, or finds the one that has that id already.
func (s *Server) launch(c *exchange.Call, o *order, kind v1.AgentCallType) (n *nested, again bool, err error) {
	p := parts(o.id)
	switch {
	case len(p) == 1:
		return nil, false, call.Bad("Failed to validate agent::Call: Expecting '" + strings.ToLower(kind.String()) + ".container_id.parent' to be present")
	case len(p) > maxDepth:
		return nil, false, call.Bad("Containers nest one deep here: give the container of a task as 'container_id.parent'")
	}
	a := s.find(p[0])
	if a == nil || !s.sees(c, a.Task) {
		return nil, false, s.hidden(c, call.Bad("Unable to locate executor for parent container "+p[0]))
	}
	c.Subject = exchange.Subject{Object: a.Task.ID, Partition: a.Task.Partition, Asked: named(o.id)}
	if err := s.mayEnter(c, a); err != nil {
		return nil, false, err
	}
	if err := s.runs(a.Task); err != nil {
		return nil, false, err
	}
	cmd, err := commandOf(a, o)
	if err != nil {
		return nil, false, err
	}
	n = &nested{key: keyOf(o.id), id: o.id, of: p[0], tty: cmd.TTY, out: newSpread(), resize: make(chan Size, 1), signals: make(chan syscall.Signal, 4),
		begun: make(chan struct{}), done: make(chan struct{})}
	if o.session || n.tty {
		n.stdin = newFeed()
	}
	give, err := hold(s.commands, c)
	if err != nil {
		return nil, false, err
	}
	own, cancel := context.WithCancelCause(context.Background())
	n.cancel = cancel
	if again, err := s.enlist(n, o.session); again || err != nil {
		give()
		cancel(nil)
		return n, again, err
	}
	select {
	case s.starts <- func(ctx context.Context) {
		defer give()
		stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
		defer stop()
		s.run(own, n, cmd)
	}:
		return n, false, nil
	case <-c.R.Context().Done():
		give()
		cancel(nil)
		s.strike(n)
		return nil, false, context.Cause(c.R.Context())
	}
}

// enlist takes a command in, unless there are too many.
func (s *Server) enlist(n *nested, session bool) (again bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nested[n.key] != nil {
		if session {
			return false, &call.Problem{Status: http.StatusConflict, Body: "Container " + named(n.id) + " is there already"}
		}
		return true, nil
	}
	ofTask := 0
	for _, o := range s.nested {
		if o.of == n.of && !o.over() {
			ofTask++
		}
	}
	if ofTask >= maxOfTask {
		return false, unavailable("There are as many containers beside this task as may be, 32: kill some")
	}
	s.nested[n.key] = n
	return false, nil
}

func (n *nested) over() bool {
	select {
	case <-n.done:
		return true
	default:
		return false
	}
}

// strike forgets a command.
func (s *Server) strike(n *nested) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nested[n.key] == n {
		delete(s.nested, n.key)
	}
}

// run runs a command until it has ended, and remembers how.
func (s *Server) run(ctx context.Context, n *nested, cmd Command) {
	defer n.cancel(nil)
	began := false
	n.exit, n.err = s.Host.Run(ctx, cmd, func() (IO, error) {
		began = true
		close(n.begun)
		all := IO{Stdout: n.out.writer(false), Stderr: n.out.writer(true), Resize: n.resize, Signals: n.signals}
		if n.stdin != nil { // or it were an interface that is not nil
			all.Stdin = n.stdin
		}
		return all, nil
	})
	if n.stdin != nil {
		_ = n.stdin.Close() // frees who types
	}
	n.out.end()
	close(n.done)
	if !began {
		s.strike(n)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, n)
	if len(s.ended) <= maxEnded {
		return
	}
	old := s.ended[0]
	s.ended = append([]*nested(nil), s.ended[1:]...)
	if s.nested[old.key] == old {
		delete(s.nested, old.key)
	}
}

// commandOf is what is run of what is said, or why it cannot be.
func commandOf(a *api.Assignment, o *order) (Command, error) {
	cmd := Command{Task: a.Task.ID, Attempt: a.Task.Attempt, Env: map[string]string{}}
	i := o.command
	switch {
	case i == nil || v1.Get(i.Value) == "":
		return cmd, call.Bad("Expecting 'command.value' to be present: the program, or with 'shell' the line for /bin/sh")
	case len(i.URIs) > 0:
		return cmd, call.Bad("A nested container has its task's folder here, and nothing is fetched into it: leave 'command.uris' out")
	case v1.Get(i.User) != "" && *i.User != a.Spec.RunsAs():
		return cmd, call.Bad("A nested container runs as its task does, which is user '" + a.Spec.RunsAs() + "', not '" + *i.User + "': leave 'command.user' out")
	}
	if i.GetShell() {
		cmd.Args = []string{"/bin/sh", "-c", *i.Value}
	} else if cmd.Args = []string{*i.Value}; len(i.Arguments) > 1 {
		cmd.Args = append(cmd.Args, i.Arguments[1:]...)
	}
	if i.Environment != nil {
		for _, v := range i.Environment.Variables {
			if v.Value == nil {
				return cmd, call.Bad("Environment variable '" + v.Name + "' must have a value set: secrets are not supported")
			}
			cmd.Env[v.Name] = *v.Value
		}
	}
	t, err := rows.Terminal(o.container)
	if err != nil {
		return cmd, call.Bad(err.Error())
	}
	if t != nil {
		cmd.TTY, cmd.Size = true, usual
		if t.Rows > 0 && t.Cols > 0 {
			cmd.Size = Size{uint16(t.Rows), uint16(t.Cols)}
		}
	}
	return cmd, nil
}

// usual is how large a terminal is of which nobody says it.
var usual = Size{24, 80}
