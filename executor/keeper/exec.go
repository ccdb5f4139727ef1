package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/isolation"
)

// exec runs one command beside a running attempt. Its files came with the
// message: the terminal, or input, output and errors. The command does not
// outlive the connection.
func (s *server) exec(c *conn, m *message) error {
	reply := &message{Op: opAnswer, Seq: m.Seq}
	birth, err := s.execute(m.Exec, c.takeFiles())
	var watch sync.WaitGroup
	if err == nil {
		begun := make(chan *isolation.Process, 1)
		watch.Go(func() {
			if _, err := c.receive(); err == nil { // nothing more is sent: this is the end of the connection
				return
			}
			_ = birth.Kill() // it may have begun,
			if p := <-begun; p != nil {
				_ = p.Signal(unix.SIGKILL) // or ended
			}
		})
		var p *isolation.Process
		p, err = birth.Wait()
		err = programError(err)
		begun <- p
		if err == nil {
			var exit isolation.Exit
			exit, err = p.Wait()
			reply.Executed = &ExecResult{exit.Code, exit.Signal}
		}
	}
	reply.Error = toWire(err)
	b, err := encode(nil, reply)
	if err == nil {
		_, _ = c.sock.Write(b) // whoever asked may have left
	}
	_ = c.sock.SetReadDeadline(time.Now().Add(2 * drainTime)) // a socket has deadlines
	watch.Wait()
	return err
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
	return t.slice.BeginBeside(t.proc, isolation.Spec{Program: r.Program, Confinement: t.around}, io)
}

// Exec runs a command beside a running attempt and returns when it has ended
// and its output is written, or kills it when ctx ends. A Read of r.Stdin may
// still be waiting then: its owner ends it.
func (c *Client) Exec(ctx context.Context, r ExecRequest) (ExecResult, error) {
	p := c.holderOf(r.ID)
	if p == nil {
		p = c.peers[0]
	}
	k, _, err := dial(p.cfg.Dir, false)
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
	wait := st.copy(&r)
	m, err := k.receive()
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
