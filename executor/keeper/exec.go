package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/isolation"
)

// exec runs one command beside a running attempt. Its files came with the
// message: the terminal, or input, output and errors. What else comes is signals
// for it. When the connection ends, the command is hung up as if its terminal
// was closed, and killed if it stays.
func (s *server) exec(c *conn, m *message) error {
	reply := &message{Op: opAnswer, Seq: m.Seq}
	birth, err := s.execute(m.Exec, c.takeFiles())
	var watch sync.WaitGroup
	if err == nil {
		h := &hangup{birth: birth, begun: make(chan *isolation.Process, 1), over: make(chan struct{})}
		watch.Go(func() { h.follow(c) })
		var p *isolation.Process
		p, err = birth.Wait()
		h.begun <- p
		if err == nil {
			b, _ := encode(nil, &message{Op: opBegun}) // it always fits
			_, _ = c.sock.Write(b)                     // whoever asked may have left
			var exit isolation.Exit
			exit, err = p.Wait()
			reply.Executed = &ExecResult{exit.Code, exit.Signal}
		}
		close(h.over)
	}
	reply.Error = toWire(programError(err)) // how far a birth came before its error is the way of starting's affair
	b, err := encode(nil, reply)
	if err == nil {
		_, _ = c.sock.Write(b) // whoever asked may have left
	}
	_ = c.sock.SetReadDeadline(time.Now().Add(2 * drainTime)) // a socket has deadlines
	watch.Wait()
	return err
}

// hangupGrace is how long a command has to end after it was hung up.
const hangupGrace = 5 * time.Second

// hangup is what the connection of an exec means to its command.
type hangup struct {
	birth *isolation.Birth
	begun chan *isolation.Process // nil: it did not begin
	over  chan struct{}           // closed when the command has ended
	p     *isolation.Process
}

// follow returns when the command has ended and the connection too.
func (h *hangup) follow(c *conn) {
	for {
		m, err := c.receive()
		if err != nil {
			break
		}
		if sig := syscall.Signal(m.Signal); m.Op == opSignal && heeded(sig) {
			p := h.process()
			if p == nil {
				return
			}
			_ = p.SignalGroup(sig) // it may have ended
		}
	}
	p := h.process()
	if p == nil {
		return
	}
	_ = p.SignalGroup(unix.SIGHUP) // it may have ended
	grace := time.NewTimer(hangupGrace)
	defer grace.Stop()
	select {
	case <-h.over:
	case <-grace.C:
		_ = p.SignalGroup(unix.SIGKILL)
	}
}

// process is the command, nil if it did not begin. One that takes long to begin
// cannot heed anything and is killed: its program may be on a dead file server.
func (h *hangup) process() *isolation.Process {
	if h.p != nil {
		return h.p
	}
	slow := time.AfterFunc(time.Second, func() { _ = h.birth.Kill() })
	defer slow.Stop()
	h.p = <-h.begun
	return h.p
}

// heeded reports whether whoever runs a command may send it that signal.
func heeded(sig syscall.Signal) bool {
	return sig == unix.SIGHUP || sig == unix.SIGINT || sig == unix.SIGQUIT || sig == unix.SIGTERM || sig == unix.SIGKILL
}

func (s *server) execute(r *ExecRequest, files []*os.File) (*isolation.Birth, error) {
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	want := 3
	if r.TTY {
		want = 1
	}
	if len(files) != want {
		return nil, fmt.Errorf("%d files came with the command and not %d", len(files), want)
	}
	t, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	io := isolation.Files{Stdin: files[0], Stdout: files[0], Stderr: files[0]}
	if !r.TTY {
		io.Stdout, io.Stderr = files[1], files[2]
	}
	t.freezer.gate.RLock()
	defer t.freezer.gate.RUnlock()
	if t.freezer.on {
		return nil, fmt.Errorf("%s: %w", r.ID, ErrFrozen)
	}
	give(r.UID, files...)
	return t.slice.BeginBeside(t.proc, isolation.Spec{Program: r.Program, Confinement: t.around}, io)
}

// Exec runs a command beside a running attempt and returns when it has ended
// and its output is written, or hangs it up when ctx ends and returns at once. A Read of r.Stdin may
// still be waiting then: its owner ends it.
func (c *Client) Exec(ctx context.Context, r ExecRequest) (ExecResult, error) {
	p := c.holderOf(r.ID)
	if p == nil {
		p = c.peers[0]
	}
	k, its, err := dial(p.cfg.Dir, false)
	if err != nil {
		return ExecResult{}, fmt.Errorf("reach the keeper: %w", err)
	}
	defer k.sock.Close()
	st, err := openStreams(&r)
	if err != nil {
		return ExecResult{}, err
	}
	defer st.close()
	stop := context.AfterFunc(ctx, func() { k.sock.Close() })
	defer stop()
	err = k.sendFiles(&message{Op: opExec, Exec: &r}, st.theirs)
	for _, f := range st.theirs {
		f.Close()
	}
	if err != nil {
		return ExecResult{}, fmt.Errorf("send the command to the keeper: %w", err)
	}
	ended := make(chan struct{})
	defer close(ended)
	var wait func()
	knows := knowledge(its).all
	begin := &beginning{patience: beginPatience, do: func() error {
		if r.Begin != nil {
			if err := r.Begin(&r); err != nil {
				return err
			}
		}
		wait = st.copy(&r, ended)
		go k.passSignals(r.Signals, ended, knows[featureExecSignals])
		return nil
	}}
	if !knows[featureExecBegun] {
		if err := begin.now(); err != nil {
			return ExecResult{}, err
		}
	}
	m, err := k.outcome(begin)
	if berr := begin.over(m != nil && m.Executed != nil); berr != nil {
		return ExecResult{}, berr
	}
	switch {
	case ctx.Err() != nil:
		return ExecResult{}, context.Cause(ctx)
	case errors.Is(err, io.EOF):
		return ExecResult{}, errors.New("the keeper ended while the command ran")
	case err != nil:
		return ExecResult{}, fmt.Errorf("wait for the command: %w", err)
	case m.Error != nil:
		return ExecResult{}, m.Error.asError()
	case m.Executed == nil:
		return ExecResult{}, errors.New("the keeper did not say how the command ended")
	}
	wait()
	return *m.Executed, nil
}

// beginPatience is how long it is waited for that a command has begun, before
// who asked for it may type, and see what it prints.
const beginPatience = time.Second

// outcome is how a command ended, or why it did not begin.
func (c *conn) outcome(begin *beginning) (*message, error) {
	slow := time.AfterFunc(begin.patience, func() {
		if begin.now() != nil {
			c.sock.Close()
		}
	})
	defer slow.Stop()
	for {
		m, err := c.receive()
		switch {
		case err != nil || m.Op == opAnswer:
			return m, err
		case m.Op == opBegun:
			if err := begin.now(); err != nil {
				return nil, err
			}
		}
	}
}

// beginning is what is done once, when a command has begun or takes long to.
type beginning struct {
	do       func() error
	patience time.Duration // then it takes long

	mu   sync.Mutex
	done bool
	err  error
}

func (b *beginning) now() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.done {
		b.done = true
		b.err = b.do()
	}
	return b.err
}

// over does it now, if it must have come to it, or else never again. The error is
// that of doing it.
func (b *beginning) over(must bool) error {
	if must {
		return b.now()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = true
	return b.err
}

// passSignals sends the keeper what is for the command. One that knows of none
// ends the command with the connection.
func (c *conn) passSignals(from <-chan syscall.Signal, ended <-chan struct{}, known bool) {
	for {
		select {
		case <-ended:
			return
		case sig, ok := <-from:
			if !ok {
				return
			}
			b, err := encode(nil, &message{Op: opSignal, Signal: int(sig)})
			if err == nil && known {
				_, err = c.sock.Write(b)
			}
			if err != nil || !known {
				c.sock.Close()
				return
			}
		}
	}
}
