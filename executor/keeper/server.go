package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/executor/vouch"
	"github.com/mesita/mesita/isolation"
)

// server holds the tasks and serves the daemon.
type server struct {
	cfg     Config
	host    *isolation.Host
	log     *slog.Logger
	null    *os.File
	slots   chan struct{} // starts under way
	disk    chan struct{} // writes of logs under way
	readers chan struct{} // questions about use that are being answered
	tasks   sync.WaitGroup
	conns   sync.WaitGroup

	fates  fates // set with known
	beside neighbours
	spent  leftovers
	asking sync.Mutex // those beside it to deny something

	mu      sync.Mutex
	ledger  *ledger
	known   map[string]*task
	early   map[string]*earlyStart  // by attempt
	running int                     // starting or running
	open    map[*conn]chan struct{} // closed when its requests are all taken
	main    *conn
	idle    *time.Timer
	voucher *voucher
	closing bool
	end     chan struct{} // closed to end the server
}

func newServer(cfg Config, host *isolation.Host) (*server, error) {
	l, past, err := openLedger(cfg.Dir)
	if err != nil {
		return nil, fullDisk(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	s := &server{
		cfg: cfg, host: host, log: cfg.Log, null: null, ledger: l,
		slots: make(chan struct{}, 2*runtime.NumCPU()), disk: make(chan struct{}, diskWrites), readers: make(chan struct{}, statsReaders),
		known: map[string]*task{}, early: map[string]*earlyStart{}, open: map[*conn]chan struct{}{}, end: make(chan struct{}),
		spent: leftovers{free: debug.FreeOSMemory},
	}
	for _, st := range past {
		s.known[st.ID] = pastTask(st)
		s.fates.set(st.ID, fateOf(st.State))
	}
	return s, nil
}

// sweep kills what an earlier keeper left running: nobody can collect its exit
// or its output any more. What a keeper beside this one holds is let be.
func (s *server) sweep(ctx context.Context) error {
	names, err := s.host.List() // before it is asked who holds what: they write first, and make the slice then
	if err != nil {
		return fmt.Errorf("list what an earlier keeper left: %w", err)
	}
	if _, _, err := beside(s.cfg.Dir); err != nil {
		return err
	}
	return s.eachLeft(names, func(slice string) { killSlices(ctx, s.host, s.log, []string{slice}) })
}

// eachLeft calls f of the slices that no keeper beside this one holds by then. It
// looks for each, as f may take long: a keeper of before writes nothing of a slice
// before its start, and one that was dropped may be made again.
func (s *server) eachLeft(names []string, f func(slice string)) error {
	for _, slice := range names {
		held, _, err := s.beside.look(s.cfg.Dir)
		if err != nil {
			return err
		}
		if !ofOne(slice, held) {
			f(slice)
		}
	}
	return nil
}

// run serves until nothing is left to do.
func (s *server) run(ctx context.Context, l *net.UnixListener) error {
	s.touch()
	s.conns.Go(func() { s.accept(l) })
	select {
	case <-s.end:
	case <-ctx.Done():
		s.log.Info("told to end; doing so once no task runs")
		s.finish()
		<-s.end
	}
	err := l.Close()
	s.mu.Lock()
	for c := range s.open {
		_ = c.sock.CloseRead() // ends the connection once all is sent, if it has not ended
	}
	s.mu.Unlock()
	s.conns.Wait()
	s.stopVouching()
	s.tasks.Wait()
	return err
}

// touch plans the end of a keeper that has nothing to do. s.mu is not held.
func (s *server) touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan()
}

func (s *server) plan() {
	if s.idle != nil {
		s.idle.Stop()
		s.idle = nil
	}
	switch {
	case s.running > 0:
	case s.closing:
		s.closeLocked()
	case len(s.open) > 0:
		s.rest(s.cfg.Idle)
	default:
		s.rest(s.cfg.Orphaned)
	}
}

// rest plans the end after so long without a task or a change of daemons, but as
// long as the keeper holds ends that no daemon has taken note of it can be asked
// for them: who hears nothing of an attempt starts it again elsewhere. A daemon
// that is there may be killed before the cluster hears of an end.
func (s *server) rest(after time.Duration) {
	since := time.Now()
	var t *time.Timer
	t = time.AfterFunc(after, func() {
		housed := s.housed() // the disk may take long to say so
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case s.idle != t: // planned anew meanwhile
		case s.unclaimed() && time.Since(since) < s.cfg.Unclaimed && housed:
			t.Reset(after)
		default:
			s.closeLocked()
		}
	})
	s.idle = t
}

func (s *server) unclaimed() bool {
	for _, t := range s.known {
		if t.status.State == Ended {
			return true
		}
	}
	return false
}

// accept serves whoever comes, until l is closed. Out of files, a keeper waits
// for some to be closed: nobody else can serve its tasks.
func (s *server) accept(l *net.UnixListener) {
	retry := backoff.New(5*time.Millisecond, time.Second)
	for {
		sock, err := l.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			delay := retry.Next()
			s.log.Warn("a connection to the keeper cannot be accepted; trying again", "error", err, "retry", delay)
			select {
			case <-s.end:
				return
			case <-time.After(delay):
			}
		default:
			retry.Reset()
			s.conns.Go(func() { s.serve(sock) })
		}
	}
}

// housed reports whether the keeper's folder is still there.
func (s *server) housed() bool {
	_, err := os.Stat(s.ledger.path)
	return !errors.Is(err, os.ErrNotExist)
}

// finish ends the server as soon as no task runs.
func (s *server) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	if s.running == 0 {
		s.closeLocked()
	}
}

func (s *server) closeLocked() {
	select {
	case <-s.end:
		return
	default:
	}
	s.closing = true
	for c := range s.open {
		_ = c.send(&message{Op: opBye}) // a broken connection says as much
	}
	close(s.end)
}

// serve runs one connection.
func (s *server) serve(sock *net.UnixConn) {
	c := newConn(sock)
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { c.write(done) })
	err := s.converse(c)
	if err == nil {
		err = c.unread()
	}
	if err != nil {
		s.log.Warn("a connection to the keeper ended", "error", err)
	}
	// What is queued may be the goodbye that keeps the daemon from starting
	// another keeper.
	_ = sock.SetWriteDeadline(time.Now().Add(drainTime)) // a socket has deadlines
	close(done)
	writer.Wait()
	c.fail(net.ErrClosed)
	c.dropFiles()
}

func (s *server) converse(c *conn) error {
	m, err := c.receive()
	if err != nil {
		return nil //nolint:nilerr // gone before it said anything
	}
	if m.Op != opHello {
		return fmt.Errorf("the connection began with %q and not with a hello", m.Op)
	}
	err = negotiate(m.Hello)
	ours := &message{Op: opHello, Hello: &hello{Version: version, MinVersion: minVersion, PID: os.Getpid(), Features: features(), Generation: generation}, Error: toWire(err)}
	if err != nil {
		b, _ := encode(nil, ours) // a hello always fits
		_, werr := c.sock.Write(b)
		return errors.Join(err, werr)
	}
	if !s.attach(c, m.Hello.Main) {
		return nil
	}
	defer s.detach(c)
	if err := c.send(ours); err != nil {
		return err
	}
	for {
		m, err := c.receive()
		if err != nil {
			return nil //nolint:nilerr // the daemon is gone: nothing to do about it
		}
		switch err := m.check(); {
		case err != nil: // the connection is not ended for it: a newer daemon would lose it again and again
			c.dropFiles()
			_ = c.send(&message{Op: opAnswer, Seq: m.Seq, Error: toWire(err)}) // as in handle
		case m.Op == opExec:
			return s.exec(c, m)
		case m.Op == opTerminal:
			return s.terminal(c, m)
		default:
			s.handle(c, m)
		}
	}
}

// attach registers c. A new main connection waits until all requests of the
// earlier one are in hand, so that what it lists is complete.
func (s *server) attach(c *conn, main bool) bool {
	s.mu.Lock()
	select {
	case <-s.end:
		s.mu.Unlock()
		return false
	default:
	}
	s.open[c] = make(chan struct{})
	var old chan struct{}
	if main {
		if s.main != nil {
			s.main.sock.Close()
			old = s.open[s.main]
		}
		s.main = c
	}
	s.plan()
	s.mu.Unlock()
	if old != nil {
		<-old
	}
	return true
}

func (s *server) detach(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.open[c])
	delete(s.open, c)
	s.dropEarlyOf(c)
	if s.main == c {
		s.main = nil
	}
	s.plan()
}

// handle answers one request; what may take long is answered later. The keeper's
// log may be on a disk that hangs, and the next daemon waits for what the last one
// asked: nothing is written there.
func (s *server) handle(c *conn, m *message) {
	reply := &message{Op: opAnswer, Seq: m.Seq}
	var err error
	switch m.Op {
	case opStart:
		s.start(c, m)
		return
	case opPrepare:
		s.prepare(c, m.Start)
		return
	case opSignal:
		err = s.signal(m.ID, syscall.Signal(m.Signal))
	case opFreeze, opThaw:
		s.freeze(c, m)
		return
	case opKill:
		err = s.kill(m.ID)
	case opList:
		reply.Statuses = s.list()
	case opForget:
		s.forget(c, m)
		return
	case opStats:
		s.tellStats(c, m)
		return
	case opVouch:
		err = s.vouch(m.Vouch)
	case opDeny:
		reply.Names = s.fates.deny(m.Names)
	case opDenied:
		reply.Names = s.fates.allDenied()
	case opPing:
	case opQuit:
		s.finish()
	default:
		err = fmt.Errorf("this keeper does not know the operation %q: it is of an older version and ends with its tasks", m.Op)
	}
	reply.Error = toWire(err)
	_ = c.send(reply) // if the daemon is gone the next one asks again; serve says if it did not read
}

func (s *server) list() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Status, 0, len(s.known))
	for _, t := range s.known {
		out = append(out, t.status)
	}
	return out
}

// forget drops ended attempts, and answers once that is noted.
func (s *server) forget(c *conn, m *message) {
	var errs []error
	var noted []*entry
	s.mu.Lock()
	for _, id := range m.IDs {
		t := s.known[id]
		switch {
		case t == nil:
		case t.status.State == Starting || t.status.State == Running:
			errs = append(errs, fmt.Errorf("%s runs: kill it first", id))
		default:
			delete(s.known, id)
			s.fates.set(id, vouch.Unknown)
			noted = append(noted, s.ledger.forget(id))
		}
	}
	noted = append(noted, s.ledger.shrink(s.all))
	s.mu.Unlock()
	s.tasks.Go(func() {
		for _, e := range noted {
			if e != nil {
				errs = append(errs, s.ledger.write(e))
			}
		}
		_ = c.send(&message{Op: opAnswer, Seq: m.Seq, Error: toWire(errors.Join(errs...))}) // as in handle
	})
}

// all is what the ledger is to hold; s.mu is held.
func (s *server) all() []Status {
	out := make([]Status, 0, len(s.known)+len(s.early))
	for id, e := range s.early {
		if s.known[id] == nil {
			out = append(out, e.noted())
		}
	}
	for _, t := range s.known {
		if t.end != nil {
			out = append(out, *t.end)
			continue
		}
		out = append(out, t.status)
	}
	return out
}

// announce tells the daemon about an exit. Whoever runs a command is told of
// that command only. s.mu is held.
func (s *server) announce(st Status) error {
	if s.main == nil {
		return nil
	}
	return s.main.send(&message{Op: opStatus, Statuses: []Status{st}})
}
