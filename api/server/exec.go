package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/mesita/mesita/api"
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
	if t.State != api.TaskRunning {
		return nil, api.Errorf(api.CodeConflict, "task %s does not run, it is %s: see `mesita why %s`", t.ID, t.State, t.ID)
	}
	return c.toNode(t.NodeID, "/v1/local/tasks/"+t.ID+"/exec", c.q.values, localExec)
}

func (c *call) execRequest() (ExecRequest, error) {
	r := ExecRequest{Task: c.args[0], Command: c.q.values["cmd"], TTY: c.q.flag("tty")}
	r.Size = Size{uint16(c.q.number("rows", 24, 1, 1<<16-1)), uint16(c.q.number("cols", 80, 1, 1<<16-1))}
	switch {
	case c.q.err != nil:
		return r, c.q.err
	case c.r.Header.Get("Upgrade") != execProtocol:
		return r, api.FieldErrorf("Upgrade", "is not %s: an exec needs an HTTP/1.1 connection upgraded to that", execProtocol)
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
	ctx, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	var conn net.Conn
	var frames *frameConn
	received := make(chan struct{})
	start := func() (ExecIO, error) {
		if conn != nil {
			return ExecIO{}, errors.New("the command was started twice")
		}
		up, in, err := c.upgrade()
		if err != nil {
			return ExecIO{}, err
		}
		conn, frames = up, &frameConn{w: up, deadline: up.SetWriteDeadline, patience: c.patience.reader}
		stdin, toStdin := io.Pipe()
		resize := make(chan Size, 1)
		go func() {
			defer close(received)
			err := receive(in, toStdin, resize)
			cancel(fmt.Errorf("the caller left: %w", errors.Join(err, context.Canceled)))
		}()
		context.AfterFunc(ctx, func() { stdin.Close() }) // frees receive
		return ExecIO{Stdin: stdin, Stdout: frameWriter{frames, frameStdout}, Stderr: frameWriter{frames, frameStderr}, Resize: resize}, nil
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
	}
	frames.send(frameExit, binary.BigEndian.AppendUint32(nil, uint32(int32(code)))) // the caller left if this fails
	cancel(nil)
	conn.Close()
	<-received
	return done{}, nil
}

// upgrade takes the connection over and says so to the caller.
func (c *call) upgrade() (net.Conn, io.Reader, error) {
	conn, rw, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		return nil, nil, api.Errorf(api.CodeInvalid, "this connection cannot be upgraded (%v): use HTTP/1.1", err)
	}
	c.answered, c.status = true, http.StatusSwitchingProtocols
	conn.SetDeadline(time.Time{}) // the write below fails if the connection does
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", execProtocol)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, rw.Reader, nil
}

// passUpgrade joins the caller's connection with the other node's.
func (c *call) passUpgrade(res *http.Response) error {
	far, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		return api.Errorf(api.CodeInternal, "the transport between nodes cannot upgrade")
	}
	conn, in, err := c.upgrade()
	if err != nil {
		return err
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		io.Copy(far, in) // ends when either side does
		far.Close()
	}()
	io.Copy(deadlineWriter{conn, c.patience.reader}, far) // ends when either side does
	conn.Close()
	<-left
	return nil
}

// deadlineWriter cuts a caller who does not take what is sent.
type deadlineWriter struct {
	net.Conn
	patience time.Duration
}

func (w deadlineWriter) Write(p []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(w.patience)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}
