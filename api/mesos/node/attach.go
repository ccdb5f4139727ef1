package node

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	"github.com/mesita/mesita/api/mesos/reply"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

const (
	heartbeat = 30 * time.Second
	replayed  = 64 << 10 // bytes of each stream of a task that who attaches is shown first
)

// printer sends what is printed as records, one at a time.
type printer struct {
	mu      sync.Mutex
	c       *exchange.Call
	control *http.ResponseController
	out     *wire.RecordWriter
	format  wire.Format
}

func (s *Server) printer(c *exchange.Call, f wire.Format) *printer {
	return &printer{c: c, control: http.NewResponseController(c.W), out: wire.NewRecordWriter(c.W, f), format: f}
}

// begin sends the header.
func (p *printer) begin() error {
	p.c.Release()
	p.c.W.Header().Set("Message-Content-Type", p.format.MediaType())
	p.c.Head(http.StatusOK, []string{recordIO})
	return p.flush()
}

func (p *printer) flush() error {
	err := p.control.Flush()
	_ = p.control.SetWriteDeadline(time.Time{}) // an in-memory writer has none
	return err
}

func (p *printer) send(m *v1.ProcessIO) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.c.Over(); err != nil {
		return err
	}
	_ = p.control.SetWriteDeadline(time.Now().Add(p.c.Patience.Exec)) // an in-memory writer has none
	if err := p.out.Write(m); err != nil {
		return err
	}
	return p.flush()
}

func (p *printer) print(stderr bool, data []byte) error {
	kind := v1.ProcessIODataTypeStdout
	if stderr {
		kind = v1.ProcessIODataTypeStderr
	}
	return p.send(&v1.ProcessIO{Type: new(v1.ProcessIOTypeData), Data: &v1.ProcessIOData{Type: &kind, Data: data}})
}

// beat sends a sign of life whenever one is due, until it is stopped.
func (p *printer) beat(ctx context.Context) (stop func()) {
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(heartbeat)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-over:
				return
			case <-tick.C:
			}
			m := &v1.ProcessIO{Type: new(v1.ProcessIOTypeControl), Control: &v1.ProcessIOControl{Type: new(v1.ProcessIOControlTypeHeartbeat),
				Heartbeat: &v1.ProcessIOControlHeartbeat{Interval: &v1.DurationInfo{Nanoseconds: int64(heartbeat)}}}}
			if p.send(m) != nil {
				return // who prints finds out why
			}
		}
	}()
	return func() { close(over); <-done }
}

// session runs a command whose output is the answer. It is hung up when its caller leaves.
func (s *Server) session(c *exchange.Call, r *request) (any, error) {
	leave, err := hold(s.attached, c)
	if err != nil {
		return nil, err
	}
	defer leave()
	l := r.call.LaunchNestedContainerSession
	n, _, err := s.launch(c, &order{id: l.ContainerID, command: l.Command, container: l.Container, session: true}, r.kind)
	if err != nil {
		return nil, err
	}
	e := n.out.listen(true)
	defer e.leave()
	defer n.cancel(errLeft)
	if err := n.awaitBegin(c.R.Context()); err != nil {
		return nil, err
	}
	s.follow(c, r.accept, e)
	return exchange.Done{}, nil
}

// follow prints what comes to an ear until its end. A stream that breaks off before is cut,
// or it would look like one that has ended.
func (s *Server) follow(c *exchange.Call, f wire.Format, e *ear) {
	p := s.printer(c, f)
	if p.begin() != nil {
		return
	}
	stop := p.beat(c.R.Context())
	defer stop()
	for more := true; more; {
		var all []chunk
		all, more = e.take(c.R.Context())
		for _, k := range all {
			if p.print(k.stderr, k.data) != nil {
				panic(http.ErrAbortHandler) // the reader left, or is too slow
			}
		}
	}
	if !e.whole() {
		panic(http.ErrAbortHandler)
	}
}

// attachOutput prints what a task or a command prints: the end of what it has, and what
// comes.
func (s *Server) attachOutput(c *exchange.Call, r *request) (any, error) {
	a, n, err := s.wanted(c, r.call.AttachContainerOutput.ContainerID)
	if err == nil && n != nil { // it shows what somebody did there, which is in no log
		err = s.mayEnter(c, a)
	}
	if err != nil {
		return nil, err
	}
	leave, err := hold(s.attached, c)
	if err != nil {
		return nil, err
	}
	defer leave()
	if n != nil {
		e := n.out.listen(false)
		defer e.leave()
		s.follow(c, r.accept, e)
		return exchange.Done{}, nil
	}
	after, _, err := s.Host.Written(a.Task.ID, a.Task.Attempt)
	if err != nil && api.ErrorCode(err) != api.CodeNotFound {
		return nil, problemOf(err)
	}
	for i := range after {
		after[i] = max(0, after[i]-replayed)
	}
	p := s.printer(c, r.accept)
	if p.begin() != nil {
		return exchange.Done{}, nil
	}
	stop := p.beat(c.R.Context())
	defer stop()
	err = s.Host.Read(c.R.Context(), a.Task.ID, a.Task.Attempt, after, true, func(o Output) error {
		if o.Lost != 0 {
			return nil // a stream has no word for it
		}
		return p.print(o.Stderr, o.Data)
	})
	if err != nil {
		if c.R.Context().Err() == nil {
			s.Log.Debug("what a task prints is not told any more", "task", a.Task.ID, "error", err)
		}
		panic(http.ErrAbortHandler) // as in follow
	}
	return exchange.Done{}, nil
}

// input is where what is typed goes.
type input interface {
	io.Writer
	// End is that no more comes.
	End() error
	// Resize is false where there is no terminal.
	Resize(s Size) bool
}

// attachInput types to a task or a command.
func (s *Server) attachInput(c *exchange.Call, r *request) (any, error) {
	a, n, err := s.wanted(c, r.call.AttachContainerInput.ContainerID)
	if err == nil {
		err = s.mayEnter(c, a)
	}
	if err != nil {
		return nil, err
	}
	leave, err := hold(s.attached, c)
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := context.WithCancelCause(c.R.Context())
	defer cancel(nil)
	var in input
	if n != nil {
		release, err := s.typesTo(n)
		if err != nil {
			return nil, err
		}
		defer release()
		in = keyboard{n, ctx}
		go func() {
			select {
			case <-n.done:
				cancel(errEnded)
			case <-ctx.Done():
			}
		}()
	} else {
		t, err := s.Host.Open(ctx, a.Task.ID, a.Task.Attempt)
		if err != nil {
			return nil, problemOf(err)
		}
		defer t.Close()
		in = terminal{t}
		stop := s.untilEnd(ctx, a, func() { cancel(errEnded) })
		defer stop()
		unblock := context.AfterFunc(ctx, func() { _ = t.Close() })
		defer unblock()
	}
	c.Release()
	control := http.NewResponseController(c.W)
	cut := make(chan struct{})
	uncut := context.AfterFunc(ctx, func() {
		defer close(cut)
		_ = control.SetReadDeadline(time.Now()) // an in-memory writer has none
	})
	err = r.typeAll(patient{in, func() { cancel(errUnread) }})
	if !uncut() { // later it would cut off what comes next by this connection
		<-cut
		c.RefuseBody()
	}
	if errors.Is(context.Cause(ctx), errUnread) {
		c.RefuseBody()
		return nil, unavailable("Container " + named(containerOf(&r.call)) + " has read nothing of what was typed for ten minutes: attach to it again")
	}
	if errors.Is(context.Cause(ctx), errEnded) || errors.Is(err, io.ErrClosedPipe) {
		err = nil // there is nobody to type to any more
		c.RefuseBody()
	}
	if err != nil {
		c.RefuseBody()
		return nil, err
	}
	return reply.Done(c, http.StatusOK)
}

var (
	errEnded  = errors.New("it has ended")
	errUnread = errors.New("nothing is read of what is typed")
)

// inputPatience is how long nothing may be read of what is typed. Until then nobody knows
// whether who types is still there.
const inputPatience = 10 * time.Minute

// patient gives up on an input that takes nothing.
type patient struct {
	input
	giveUp func()
}

func (p patient) Write(b []byte) (int, error) {
	timer := time.AfterFunc(inputPatience, p.giveUp)
	defer timer.Stop()
	return p.input.Write(b)
}

// typesTo has the caller be the only one that types to a command.
func (s *Server) typesTo(n *nested) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case n.stdin == nil:
		return nil, call.Bad("Container " + named(n.id) + " reads no input: it has no terminal, and was not launched as a session")
	case n.typing:
		return nil, &call.Problem{Status: http.StatusConflict, Body: "Multiple input connections are not allowed"}
	}
	n.typing = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		n.typing = false
	}, nil
}

// untilEnd calls f when an attempt has ended. Its output has its end then.
func (s *Server) untilEnd(ctx context.Context, a *api.Assignment, f func()) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		far := [2]int64{1 << 62, 1 << 62}
		err := s.Host.Read(ctx, a.Task.ID, a.Task.Attempt, far, true, func(Output) error { return nil })
		if ctx.Err() == nil && err == nil {
			f()
		}
	}()
	return func() { cancel(); <-done }
}

// typed is of a call what a record of input may say, so that no more is made of it.
type typed struct {
	Type                 *v1.AgentCallType `wire:"1,type"`
	AttachContainerInput *struct {
		Type      *v1.AgentCallAttachContainerInputType `wire:"1,type"`
		ProcessIO *v1.ProcessIO                         `wire:"3,process_io"`
	} `wire:"10,attach_container_input"`
}

// typeAll passes on what comes until its end.
func (r *request) typeAll(in input) error {
	r.records.SetMax(maxRecord)
	for {
		b, err := r.records.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return call.Bad("Failed to read a record: " + err.Error())
		}
		var m typed
		if err := decode(r.format, b, &m); err != nil {
			return err
		}
		if err := typeOne(in, &m); err != nil {
			return err
		}
	}
}

func typeOne(in input, m *typed) error {
	if m.Type == nil || *m.Type != v1.AgentCallTypeAttachContainerInput || m.AttachContainerInput == nil || v1.Get(m.AttachContainerInput.Type) != v1.AgentCallAttachContainerInputTypeProcessIO || m.AttachContainerInput.ProcessIO == nil {
		return call.Bad("Expecting each record after the first to be an ATTACH_CONTAINER_INPUT of type PROCESS_IO")
	}
	p := m.AttachContainerInput.ProcessIO
	switch v1.Get(p.Type) {
	case v1.ProcessIOTypeData:
		return typeData(in, p.Data)
	case v1.ProcessIOTypeControl:
		return control(in, p.Control)
	}
	return call.Bad("Expecting 'process_io.type' to be DATA or CONTROL")
}

func typeData(in input, d *v1.ProcessIOData) error {
	if d == nil || v1.Get(d.Type) != v1.ProcessIODataTypeStdin {
		return call.Bad("Expecting 'process_io.data.type' to be STDIN")
	}
	if len(d.Data) == 0 {
		return in.End()
	}
	_, err := in.Write(d.Data)
	return err
}

func control(in input, m *v1.ProcessIOControl) error {
	if m == nil {
		return call.Bad("Expecting 'process_io.control' to be present")
	}
	if v1.Get(m.Type) != v1.ProcessIOControlTypeTTYInfo {
		return nil // a sign of life
	}
	if m.TTYInfo == nil || m.TTYInfo.WindowSize == nil {
		return call.Bad("Expecting 'process_io.control.tty_info.window_size' to be present")
	}
	w := m.TTYInfo.WindowSize
	if w.Rows == 0 || w.Columns == 0 || w.Rows > 1<<16-1 || w.Columns > 1<<16-1 {
		return call.Bad("Expecting 'tty_info.window_size' to have 1 to 65535 rows and columns")
	}
	if !in.Resize(Size{uint16(w.Rows), uint16(w.Columns)}) {
		return call.Bad("The container has no terminal, which could be of a size")
	}
	return nil
}

// endOfTyping is the character by which who sits before a terminal says that no more comes.
const endOfTyping = 4

// terminal is that of a task.
type terminal struct{ Terminal }

func (t terminal) End() error {
	_, err := t.Write([]byte{endOfTyping})
	return err
}

func (t terminal) Resize(s Size) bool {
	t.Terminal.Resize(s)
	return true
}

// keyboard is the input of a command, as long as somebody is there who types.
type keyboard struct {
	*nested
	ctx context.Context
}

func (k keyboard) Write(p []byte) (int, error) { return k.stdin.write(k.ctx, p) }

func (k keyboard) End() error {
	if !k.tty {
		k.stdin.end()
		return nil
	}
	_, err := k.Write([]byte{endOfTyping})
	return err
}

func (n *nested) Resize(s Size) bool {
	if !n.tty {
		return false
	}
	select {
	case <-n.resize: // it was not taken: the newer one counts
	default:
	}
	select {
	case n.resize <- s:
	default:
	}
	return true
}

// waitNested answers once a command has ended, with how.
func (s *Server) waitNested(c *exchange.Call, r *request) (any, error) {
	n, err := s.beside(c, r)
	if err != nil {
		return nil, err
	}
	c.Release()
	select {
	case <-c.R.Context().Done():
		return nil, context.Cause(c.R.Context())
	case <-n.done:
	}
	status := new(int32(n.exit.Code<<8 | int(n.exit.Signal)))
	if n.err != nil {
		status = nil
	}
	if r.kind == v1.AgentCallTypeWaitContainer {
		return s.answer(c, r, &v1.AgentResponse{WaitContainer: &v1.AgentResponseWaitContainer{ExitStatus: status}})
	}
	return s.answer(c, r, &v1.AgentResponse{WaitNestedContainer: &v1.AgentResponseWaitNestedContainer{ExitStatus: status}})
}

// beside is the command that a call is about.
func (s *Server) beside(c *exchange.Call, r *request) (*nested, error) {
	id := containerOf(&r.call)
	_, n, err := s.wanted(c, id)
	if err != nil {
		return nil, err
	}
	if n == nil {
		return nil, call.Bad("Container " + named(id) + " is a task's: its framework stops it, and is told how it ends")
	}
	return n, nil
}
