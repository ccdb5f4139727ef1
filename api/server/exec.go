package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

const (
	maxWords  = 256
	exitError = 126 // as shells have it: the command could not be run
)

var execQuery = []string{"tty", "rows", "cols", "cmd"}

// execTask passes an exec on to the node that runs the task.
func execTask(c *call) (any, error) {
	if _, err := c.execRequest(); err != nil {
		return nil, err
	}
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	// The task, its partition and its spec are of one moment: what is entered is that
	// attempt, whatever became of the task meanwhile.
	v := c.Store.View()
	if t = v.Task(t.ID); t == nil {
		return nil, noTask(c.Args[0])
	}
	if err := c.mayChange(v, auth.Exec, t.Job); err != nil {
		return nil, err
	}
	if err := c.mayEnter(v, t); err != nil {
		return nil, err
	}
	if !c.sight(v).RanHere(t) {
		return nil, api.Errorf(api.CodeNotAllowed, "task %s runs since before its job came to a partition that you may enter tasks of: its next attempt is open to you", t.ID)
	}
	if err := ownProcess(v, t, "exec"); err != nil {
		return nil, err
	}
	if t.Pending() {
		return nil, api.Errorf(api.CodeConflict, "task %s does not run, it waits to be started: see `mesita why %s`", t.ID, t.ID)
	}
	if t.State != api.TaskRunning {
		return nil, api.Errorf(api.CodeConflict, "task %s does not run, it is %s: see `mesita why %s`", t.ID, t.State.Word(), t.ID)
	}
	c.R.Header.Set(exchange.HeaderAttempt, strconv.Itoa(t.Attempt))
	return c.toNode(t.NodeID, "/v1/local/tasks/"+t.ID+"/exec", c.Query.Values, localExec)
}

// mayEnter refuses a caller who may not be root of a node, if the task may be, or
// may not be who it runs as: what runs beside it is so as well.
func (c *call) mayEnter(v *fsm.View, t *api.Task) error {
	j := v.Job(t.Job)
	if j == nil {
		return nil
	}
	s := j.SpecFor(t)
	if s == nil {
		return api.Errorf(api.CodeConflict, "nobody knows any more what task %s was started with: its version %d has left the history of job %s; it is replaced in a moment", t.ID, t.Version, j.ID)
	}
	return admit.Enter(v, c.ID, t, &s.TaskSpec)
}

// mayBeRoot reports whether the caller may have all of a node, and so of the
// cluster.
func (c *call) mayBeRoot() bool { return admit.Root(c.ID) }

func (c *call) execRequest() (ExecRequest, error) {
	r := ExecRequest{Task: c.Args[0], Command: c.Query.Values["cmd"], TTY: c.Query.Flag("tty")}
	r.Size = Size{uint16(c.Query.Number("rows", 24, 1, 1<<16-1)), uint16(c.Query.Number("cols", 80, 1, 1<<16-1))}
	switch {
	case c.Query.Err != nil:
		return r, c.Query.Err
	case c.R.Header.Get("Upgrade") != exchange.ExecProtocol:
		return r, api.FieldErrorf("Upgrade", "is not %s: an exec needs an HTTP/1.1 connection upgraded to that", exchange.ExecProtocol)
	case len(r.Command) == 0 || r.Command[0] == "":
		return r, api.FieldErrorf("cmd", "is empty: give the command and its arguments")
	case len(r.Command) > maxWords:
		return r, api.FieldErrorf("cmd", "has %d words, at most %d are allowed", len(r.Command), maxWords)
	}
	return r, nil
}

// localExec runs a command on this node, over the upgraded connection.
func localExec(c *call) (any, error) {
	r, err := c.execRequest()
	if err != nil {
		return nil, err
	}
	if s := c.R.Header.Get(exchange.HeaderAttempt); s != "" { // a node of before names none
		if r.Attempt, err = strconv.Atoi(s); err != nil || r.Attempt < 1 {
			return nil, api.FieldErrorf(exchange.HeaderAttempt, "%q is not an attempt", s)
		}
	}
	ctx, cancel := context.WithCancelCause(c.R.Context())
	defer cancel(nil)
	var conn net.Conn
	var frames *frameConn
	received := make(chan struct{})
	start := func() (ExecIO, error) {
		if conn != nil {
			return ExecIO{}, errors.New("the command was started twice")
		}
		up, in, err := c.Upgrade(stdinWindow)
		if err != nil {
			return ExecIO{}, err
		}
		conn, frames = up, &frameConn{w: up, deadline: up.SetWriteDeadline, patience: c.Patience.Exec,
			failed: func(err error) { cancel(fmt.Errorf("the caller takes nothing any more: %w", err)) }}
		stdin, toStdin := io.Pipe()
		input := newInflow()
		go input.pump(toStdin, frames)
		resize, signals := make(chan Size, 1), make(chan syscall.Signal, 4)
		go func() {
			defer close(received)
			err := receive(in, input, resize, signals)
			cancel(fmt.Errorf("the caller left: %w", errors.Join(err, context.Canceled)))
		}()
		context.AfterFunc(ctx, func() { // frees both
			stdin.Close()
			input.stop()
		})
		return ExecIO{Stdin: stdin, Stdout: frameWriter{frames, frameStdout}, Stderr: frameWriter{frames, frameStderr}, Resize: resize, Signals: signals}, nil
	}
	code, err := c.Local.Exec(ctx, r, start)
	if conn == nil {
		if err == nil {
			err = errors.New("the command was not started")
		}
		return nil, err
	}
	if err != nil {
		fmt.Fprintf(frameWriter{frames, frameStderr}, "mesita: %v\n", err)
		code = exitError
		var e *api.Error
		if errors.As(err, &e) && e.Exit != 0 {
			code = e.Exit
		}
	}
	frames.send(frameExit, binary.BigEndian.AppendUint32(nil, uint32(int32(code)))) // the caller left if this fails
	cancel(nil)
	exchange.Part(conn)
	<-received
	conn.Close()
	return exchange.Done{}, nil
}
