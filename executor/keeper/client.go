package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
)

// ClientConfig says where the keeper is and how to start one.
type ClientConfig struct {
	Dir  string   // the keeper's folder; others beside it have its name and a number
	Argv []string // starts a keeper: this binary and its hidden command; --dir and a folder are added
	Log  *slog.Logger
	// Vouch, unless nil, lets the keeper answer for the tasks while this daemon
	// cannot.
	Vouch *Vouch
	// OneKeeper, unless nil, reports whether a daemon may come back, as an upgrade
	// is taken back, that looks for one keeper only: it would take for lost what
	// runs below another. Until then none is started for its generation.
	OneKeeper func() bool
}

// Client is the daemon's end. It starts a keeper when one is needed, and keeps
// one connection to it. After an upgrade there may be others beside it: the newest
// starts what is to start, and each has what it started for as long as that is
// known. Its methods may be called from several goroutines.
type Client struct {
	cfg   ClientConfig
	peers []*peer // one for each folder that a keeper may have

	choosing sync.Mutex // one at a time looks for a keeper for a start
	vouching sync.Mutex // one at a time says who answers for the tasks
	work     sync.WaitGroup

	mu      sync.Mutex
	holder  map[string]*peer // of attempts: who was asked to start it, or listed it
	latest  *peer            // took the last start
	growing *peer            // is about to get a keeper
	closed  bool
	queue   []Status // events not delivered yet; at most one for each attempt and connection
	wake    chan struct{}
}

// NewClient connects to nothing yet.
func NewClient(cfg ClientConfig) *Client {
	c := &Client{cfg: cfg, holder: map[string]*peer{}, wake: make(chan struct{}, 1)}
	for _, dir := range folders(cfg.Dir) {
		own := cfg
		own.Dir = dir
		c.peers = append(c.peers, &peer{cfg: own, tell: c.deliver, linked: c.again, left: c.again})
	}
	return c
}

// Close ends the connections; the keepers and their tasks continue.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	for _, p := range c.peers {
		p.close()
	}
	c.work.Wait()
	return nil
}

// used are the keepers that may be there.
func (c *Client) used() []*peer {
	out := c.peers[:1:1]
	for _, p := range c.peers[1:] {
		if _, err := os.Stat(p.cfg.Dir); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func (c *Client) holderOf(id string) *peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holder[id]
}

func (c *Client) hold(id string, p *peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holder[id] = p
}

// ask asks the keeper that has an attempt. Absent, or unknown to all, it is
// ErrUnknown.
func (c *Client) ask(ctx context.Context, id string, m message) (r *message, err error) {
	if p := c.holderOf(id); p != nil {
		return p.do(ctx, false, m)
	}
	for _, p := range c.used() {
		if r, err = p.do(ctx, false, m); !errors.Is(err, ErrUnknown) {
			return r, err
		}
	}
	return nil, err
}

// Start starts an attempt, and a keeper if needed. The same attempt is never
// started twice. ErrLost says that nobody knows whether it ran, ErrSilent that it
// is not begun, now or later.
func (c *Client) Start(ctx context.Context, r StartRequest) (StartResult, error) {
	p := c.holderOf(r.ID)
	if p == nil {
		var err error
		if p, err = c.choose(ctx, &r); err != nil {
			return StartResult{}, err
		}
		if l, _ := p.current(); l != nil { // else it is about to say hello
			if err := p.answers(ctx, l); err != nil {
				return StartResult{}, err
			}
		}
		c.hold(r.ID, p)
	}
	if l, err := p.current(); l != nil && err == nil {
		r = c.conceded(l.knows, r)
	}
	m, err := p.start(ctx, r)
	if err != nil {
		return StartResult{}, err
	}
	if m.Started == nil {
		return StartResult{}, errors.New("the keeper did not say what it started")
	}
	return *m.Started, nil
}

// Prepare has the keeper make what a start of the attempt needs first, which may
// come soon, or not. It waits for nothing, and nothing need come of it.
func (c *Client) Prepare(r StartRequest) {
	c.mu.Lock()
	p := c.latest
	c.mu.Unlock()
	if p == nil {
		return
	}
	if l, err := p.current(); l != nil && err == nil && l.knows.current() {
		m := &message{Op: opPrepare, Start: &StartRequest{ID: r.ID, Slice: r.Slice}}
		m.Start.Limits = r.Limits
		_ = l.send(&message{Op: opPing}) // so that Start need not ask
		_ = l.send(m)                    // Start finds out if the connection is broken
	}
}

// choose finds the keeper for a start: of those that live the best one, if it
// knows all that is asked for and is of our generation, else a new one beside
// them.
func (c *Client) choose(ctx context.Context, r *StartRequest) (*peer, error) {
	c.mu.Lock()
	p := c.latest
	c.mu.Unlock()
	if p != nil {
		if l, err := p.current(); l != nil && err == nil && l.knows.current() {
			return p, nil
		}
	}
	c.choosing.Lock()
	defer c.choosing.Unlock()
	var best, free *peer
	var bestLink *link
	for _, p := range c.peers {
		l, err := c.look(ctx, p)
		switch {
		case err != nil:
			return nil, err
		case l == nil && free == nil:
			free = p
		case l != nil && (best == nil || l.knows.better(bestLink.knows)):
			best, bestLink = p, l
		}
	}
	if best != nil && c.outgrown(bestLink.knows, r, free != nil) {
		if free == nil {
			return nil, fmt.Errorf("%d keepers of older versions still have tasks, and none knows all that this task asks for: stop tasks that an upgrade left below them", maxKeepers)
		}
		if err := c.grow(ctx, free); err != nil {
			return nil, err
		}
		best = free
	}
	if best == nil {
		best = free
	}
	c.mu.Lock()
	c.latest = best
	c.mu.Unlock()
	return best, nil
}

// outgrown reports whether a start goes to no keeper that is there; room is
// whether there may be one more.
func (c *Client) outgrown(best knows, r *StartRequest, room bool) bool {
	own := c.conceded(best, *r)
	if len(best.lacks(&own)) > 0 {
		return true
	}
	return room && best.generation < generation && (c.cfg.OneKeeper == nil || !c.cfg.OneKeeper())
}

// conceded is what a keeper is asked for in a start. Every start is confined,
// also one that would have begun below the only keeper that a daemon knows which
// may come back: until then, such a keeper starts as it always did.
func (c *Client) conceded(k knows, r StartRequest) StartRequest {
	if !k.all[featureBeside] && c.cfg.OneKeeper != nil && c.cfg.OneKeeper() {
		r.Confinement = r.Confinement.Lifted()
	}
	return r
}

// look connects to a keeper that is there.
func (c *Client) look(ctx context.Context, p *peer) (*link, error) {
	if p != c.peers[0] {
		if _, err := os.Stat(p.cfg.Dir); err != nil {
			return nil, nil //nolint:nilerr // there never was one
		}
	}
	return p.connect(ctx, false)
}

// grow starts a keeper beside others. Those that do not know of any beside them
// no longer answer for the node's tasks before it is there.
func (c *Client) grow(ctx context.Context, p *peer) error {
	c.mu.Lock()
	c.growing = p
	c.mu.Unlock()
	err := c.appoint(ctx)
	if err == nil {
		_, err = p.connect(ctx, true)
	}
	c.mu.Lock()
	c.growing = nil
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("start a keeper beside an older one: %w", errors.Join(err, c.appoint(ctx)))
	}
	c.cfg.Log.Info("a keeper was started beside an older one, which ends with its last task", "folder", p.cfg.Dir)
	return nil
}

// Signal sends a signal to an attempt's main process.
func (c *Client) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	_, err := c.ask(ctx, id, message{Op: opSignal, ID: id, Signal: int(sig)})
	return err
}

// Kill kills every process of an attempt.
func (c *Client) Kill(ctx context.Context, id string) error {
	_, err := c.ask(ctx, id, message{Op: opKill, ID: id})
	return err
}

// Running returns every attempt that the keepers know: those that run, and
// those that ended and were not forgotten.
func (c *Client) Running(ctx context.Context) ([]Status, error) {
	var out []Status
	for _, p := range c.used() {
		m, err := p.do(ctx, false, message{Op: opList})
		if errors.Is(err, ErrUnknown) {
			continue // no keeper: nothing runs
		}
		if err != nil {
			return nil, err
		}
		for _, st := range m.Statuses {
			c.hold(st.ID, p)
		}
		out = append(out, m.Statuses...)
	}
	return out, nil
}

// Forget tells the keepers that ended attempts have been taken note of.
func (c *Client) Forget(ctx context.Context, ids ...string) error {
	of := map[*peer][]string{}
	c.mu.Lock()
	for _, id := range ids {
		p := c.holder[id]
		delete(c.holder, id)
		if p == nil {
			p = c.peers[0]
		}
		of[p] = append(of[p], id)
	}
	c.mu.Unlock()
	var errs []error
	for p, ids := range of {
		_, err := p.do(ctx, false, message{Op: opForget, IDs: ids})
		if errors.Is(err, ErrUnknown) {
			continue
		}
		if err == nil {
			err = c.retire(ctx, p)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// retire ends a keeper of an older version once it has no task left, if there is
// another.
func (c *Client) retire(ctx context.Context, p *peer) error {
	l, err := p.current()
	if l == nil || err != nil || l.knows.current() || len(c.used()) == 1 || !c.beside(p) {
		return nil //nolint:nilerr // it is gone
	}
	m, err := p.do(ctx, false, message{Op: opList})
	if err != nil || len(m.Statuses) > 0 {
		return ignoreUnknown(err)
	}
	return p.quit(ctx)
}

func ignoreUnknown(err error) error {
	if errors.Is(err, ErrUnknown) || errors.Is(err, errGone) {
		return nil
	}
	return err
}

// Quit tells the keepers to end once no task runs.
func (c *Client) Quit(ctx context.Context) error {
	var errs []error
	for _, p := range c.used() {
		errs = append(errs, p.quit(ctx))
	}
	return errors.Join(errs...)
}

func (c *Client) deliver(st ...Status) {
	c.mu.Lock()
	c.queue = append(c.queue, st...)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Events returns the exits as they happen, until ctx ends; it is called once.
// A status with State Reset says that a keeper was gone: what happened
// meanwhile is told by Running.
func (c *Client) Events(ctx context.Context) (<-chan Status, error) {
	out := make(chan Status, 64)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	c.work.Go(func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case <-c.wake:
			}
			c.mu.Lock()
			q := c.queue
			c.queue = nil
			c.mu.Unlock()
			for _, st := range q {
				select {
				case <-ctx.Done():
					return
				case out <- st:
				}
			}
		}
	})
	return out, nil
}

// beside reports whether there is another keeper, or about to be.
func (c *Client) beside(p *peer) bool {
	c.mu.Lock()
	growing := c.growing
	c.mu.Unlock()
	for _, q := range c.peers {
		if q != p && (q == growing || there(q.cfg.Dir)) {
			return true
		}
	}
	return false
}

// again looks anew who answers for the tasks, as a connection was made or ended.
func (c *Client) again() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.cfg.Vouch == nil {
		return
	}
	c.work.Go(func() {
		if err := c.appoint(context.Background()); err != nil { // ends with the connections
			c.cfg.Log.Warn("an old keeper may say that this node does not hold tasks that it holds", "error", err)
		}
	})
}

// appoint has the keepers answer for the node's tasks while this daemon cannot.
// One that knows of others beside it answers for all. One of an older version
// would say of their tasks that they do not run here, so beside another it is
// told to answer nobody; the error is that it may do so all the same. One that
// cannot answer keeps silent: then a node whose daemon is away is taken for
// lost, as before.
func (c *Client) appoint(ctx context.Context) error {
	c.vouching.Lock()
	defer c.vouching.Unlock()
	var errs []error
	for _, p := range c.peers {
		l, err := p.current()
		if l == nil || err != nil {
			continue
		}
		want, v := forTasks, c.cfg.Vouch
		if !l.knows.all[featureBeside] && c.beside(p) {
			want, v = forNobody, vouchForNobody()
		}
		if v == nil || l.vouches == want {
			continue
		}
		_, err = p.ask(ctx, l, &message{Op: opVouch, Vouch: v})
		switch {
		case err == nil:
			l.vouches = want
		case errors.Is(err, errGone):
		case want == forTasks || cannotVouch(err):
			c.cfg.Log.Info("the keeper cannot answer for the tasks while this daemon is away", "error", err)
		default:
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// cannotVouch reports whether a keeper never answers: it is of a version before
// there was such a thing, or may not open the socket.
func cannotVouch(err error) bool {
	return errors.Is(err, os.ErrPermission) || strings.Contains(err.Error(), "does not know the operation")
}
