package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	maxSeeds     = 16 // contacted per Join
	resolveTime  = 5 * time.Second
	leaveMeta    = time.Second
	leaveTimeout = 2 * time.Second
	hurryRounds  = 10
	hurryPause   = 20 * time.Millisecond
	hurryMost    = 16 // members; they tell the others
)

// A rumour of a join is resent too few times when many join at once, and the
// next full exchange may be far off; so meet the seeds again.
var rejoinAfter = [...]time.Duration{time.Second, 5 * time.Second}

// Gossip is this node among its peers.
type Gossip struct {
	log     *slog.Logger
	list    *memberlist.Memberlist
	keys    *memberlist.Keyring
	del     *delegate
	members *members
	queue   *eventQueue
	events  chan Event
	rejoin  chan []string

	mu      sync.Mutex // guards meta, and closing against joins.Add
	meta    Meta
	closing bool
	joins   sync.WaitGroup
}

// New starts to listen and to answer; it joins nobody. Run must be called to
// deliver events and to leave.
func New(cfg Config) (*Gossip, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	g := &Gossip{log: cfg.Log, meta: cfg.Meta, queue: newEventQueue(), events: make(chan Event), rejoin: make(chan []string, 1)}
	g.members = newMembers(cfg.NodeID, g.queue.put)
	g.del = &delegate{self: cfg.NodeID, log: cfg.Log, members: g.members, holder: cfg.Holder}
	if err := g.publish(cfg.Meta); err != nil {
		return nil, err
	}
	var err error
	if g.keys, err = memberlist.NewKeyring(cfg.Also, cfg.Key); err != nil {
		return nil, fmt.Errorf("start gossip: %w", err)
	}
	list, err := memberlist.Create(cfg.memberlist(g.del, g.keys))
	if err != nil {
		return nil, fmt.Errorf("start gossip: %w", err)
	}
	g.list = list
	return g, nil
}

// Run delivers events and repeats joins until ctx is done; then it says
// goodbye (at most some 3 s), closes the transport, and returns nil.
func (g *Gossip) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { g.queue.pump(ctx, g.events) })
	wg.Go(func() { g.reunite(ctx) })
	g.repeatJoins(ctx)
	wg.Wait()
	g.leave()
	err := g.list.Shutdown()
	g.mu.Lock()
	g.closing = true
	g.mu.Unlock()
	g.joins.Wait()
	if err != nil {
		return fmt.Errorf("stop gossip: %w", err)
	}
	return nil
}

// leave tells the others that the coming end is meant. memberlist does not
// pass that on, so each is told; and it goes into the meta, for those of before
// that do not listen, as far as there is time.
func (g *Gossip) leave() {
	g.mu.Lock()
	g.meta.Leaving = true
	goodbye, err := g.meta.encode()
	if err == nil {
		err = g.publish(g.meta)
	}
	g.mu.Unlock()
	if err == nil {
		for _, p := range g.peers() {
			to := &memberlist.Node{Name: p.id, Addr: p.at.IP, Port: uint16(p.at.Port), PMax: memberlist.ProtocolVersionMax}
			_ = g.list.SendBestEffort(to, goodbye) // who misses it takes us for failed, and asks
		}
		g.hurry(func() { _ = g.list.UpdateNode(leaveMeta) }) // only ever a timeout
	}
	g.hurry(func() {
		if err := g.list.Leave(leaveTimeout); err != nil {
			g.log.Warn("gossip: nobody heard the goodbye", "error", err)
		}
	})
}

// peer is another member that answers, and where.
type peer struct {
	id string
	at *net.UDPAddr
}

// peers are those as this node keeps them: memberlist changes the rows that it hands out.
func (g *Gossip) peers() (out []peer) {
	for _, m := range g.members.list() {
		if at, err := netip.ParseAddrPort(m.Addr); err == nil && m.State == Alive && m.ID != g.del.self {
			out = append(out, peer{m.ID, net.UDPAddrFromAddrPort(at)})
		}
	}
	return out
}

// hurry has the others hear at once what say queues for them and waits to be out: that
// would go out some at each interval, and it takes several. A ping carries what is queued.
func (g *Gossip) hurry(say func()) {
	var wg sync.WaitGroup
	defer wg.Wait()
	said := make(chan struct{})
	go func() { defer close(said); say() }()
	peers := g.peers()
	for range hurryRounds {
		for _, p := range peers[:min(len(peers), hurryMost)] {
			wg.Go(func() { _, _ = g.list.Ping(p.id, p.at) }) // who does not answer is away
		}
		select {
		case <-said:
			return
		case <-time.After(hurryPause):
		}
	}
	<-said
}

// Join meets other nodes by "host:port" and returns how many were met; an
// error means none. It returns when ctx is done, and meets them again after 1
// and 5 s while Run continues. At most 16 seeds, drawn at random, are contacted.
func (g *Gossip) Join(ctx context.Context, seeds []string) (int, error) {
	n, err := g.meet(ctx, seeds)
	if n > 0 {
		select {
		case <-g.rejoin: // the newer seeds replace those that wait
		default:
		}
		select {
		case g.rejoin <- seeds:
		default:
		}
	}
	return n, err
}

func (g *Gossip) repeatJoins(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	var seeds []string
	var began time.Time
	step := len(rejoinAfter)
	for {
		select {
		case <-ctx.Done():
			return
		case seeds = <-g.rejoin:
			began, step = time.Now(), 0
			timer.Reset(rejoinAfter[0])
		case <-timer.C:
			if _, err := g.meet(ctx, seeds); err != nil && ctx.Err() == nil {
				g.log.Debug("gossip: joining again failed", "error", err)
			}
			if step++; step < len(rejoinAfter) {
				timer.Reset(time.Until(began.Add(rejoinAfter[step])))
			}
		}
	}
}

type met struct {
	n   int
	err error
}

// meet contacts seeds at the same time, each for at most memberlist's stream
// timeout, and waits for all or for ctx.
func (g *Gossip) meet(ctx context.Context, seeds []string) (int, error) {
	seeds = pick(seeds, g.self().Addr)
	if len(seeds) == 0 {
		return 0, errors.New("join gossip: no seed is given but this node itself")
	}
	results := make(chan met, len(seeds))
	g.mu.Lock()
	if g.closing {
		g.mu.Unlock()
		return 0, errors.New("join gossip: this node is stopping")
	}
	for _, seed := range seeds {
		g.joins.Go(func() { results <- g.meetOne(ctx, seed) })
	}
	g.mu.Unlock()
	total := 0
	var errs []error
	for range seeds {
		select {
		case r := <-results:
			total += r.n
			errs = append(errs, r.err)
		case <-ctx.Done():
			errs = append(errs, context.Cause(ctx))
			return total, joinError(total, errs)
		}
	}
	return total, joinError(total, errs)
}

func joinError(met int, errs []error) error {
	if met > 0 {
		return nil
	}
	return fmt.Errorf("join gossip: no seed could be met: %w", errors.Join(errs...))
}

func (g *Gossip) meetOne(ctx context.Context, seed string) met {
	addr, err := resolve(ctx, seed)
	if err != nil {
		return met{err: err}
	}
	n, err := g.list.Join([]string{addr})
	return met{n: n, err: err}
}

// resolve looks a seed up here, because memberlist does it without a bound.
func resolve(ctx context.Context, seed string) (string, error) {
	if ap, err := netip.ParseAddrPort(seed); err == nil {
		return ap.String(), nil
	}
	host, port, err := net.SplitHostPort(seed)
	if err != nil {
		return "", fmt.Errorf("seed %q: want HOST:PORT: %w", seed, err)
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", fmt.Errorf("seed %q: %w", seed, err)
	}
	if len(ips) == 0 {
		return "", fmt.Errorf("seed %q: has no address", seed)
	}
	return net.JoinHostPort(ips[0].Unmap().String(), port), nil
}

func pick(seeds []string, self string) []string {
	var out []string
	seen := map[string]bool{self: true}
	for _, i := range rand.Perm(len(seeds)) {
		if s := seeds[i]; !seen[s] && len(out) < maxSeeds {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// SetKeys has packets and streams sealed with one key from now on, and those
// that are sealed with it or one of the others taken.
func (g *Gossip) SetKeys(send []byte, also [][]byte) error {
	for _, k := range append([][]byte{send}, also...) {
		if err := g.keys.AddKey(k); err != nil { // one that is there is left
			return fmt.Errorf("set the keys of gossip: %w", err)
		}
	}
	if err := g.keys.UseKey(send); err != nil {
		return fmt.Errorf("set the keys of gossip: %w", err)
	}
	for _, k := range g.keys.GetKeys() {
		if !bytes.Equal(k, send) && !slices.ContainsFunc(also, func(a []byte) bool { return bytes.Equal(a, k) }) {
			if err := g.keys.RemoveKey(k); err != nil {
				return fmt.Errorf("set the keys of gossip: %w", err)
			}
		}
	}
	return nil
}

// Members is every node known, this one included, in order of id.
func (g *Gossip) Members() []Member { return g.members.list() }

// Member is one node, if it is known.
func (g *Gossip) Member(id string) (Member, bool) { return g.members.get(id) }

// Addr is the last known address of a node, alive or not.
func (g *Gossip) Addr(id string) (string, bool) {
	m, ok := g.members.get(id)
	return m.Addr, ok
}

// Events is the news of members. A reader that is slow gets the latest event
// of each member only. The channel is never closed.
func (g *Gossip) Events() <-chan Event { return g.events }

// UpdateMeta tells the others something new about this node. ID, Name and Boot
// cannot change. It does not wait until the news is out.
func (g *Gossip) UpdateMeta(meta Meta) error {
	g.mu.Lock()
	if meta.ID != g.meta.ID || meta.Name != g.meta.Name || meta.Boot != g.meta.Boot {
		g.mu.Unlock()
		return errors.New("update gossip meta: id, name and boot cannot change while the node runs")
	}
	if g.closing || g.meta.Leaving {
		g.mu.Unlock()
		return errors.New("update gossip meta: this node is stopping")
	}
	meta.Leaving = false
	err := g.publish(meta)
	if err == nil {
		g.meta = meta
	}
	g.mu.Unlock()
	if err != nil {
		return err
	}
	_ = g.list.UpdateNode(time.Nanosecond) // it is queued; that it is out takes intervals, which nobody needs to wait for
	return nil
}

func (g *Gossip) publish(meta Meta) error {
	data, err := meta.encode()
	if err != nil {
		return err
	}
	g.del.meta.Store(&data)
	return nil
}

func (g *Gossip) self() Meta {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.meta
}

// Ping asks a node by one packet whether it is there. It fails when no answer
// came before ctx ended, or within the profile's time for a probe.
func (g *Gossip) Ping(ctx context.Context, id string) error {
	addr, ok := g.Addr(id)
	if !ok {
		return fmt.Errorf("ping %s: its address is not known", id)
	}
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("ping %s: %w", id, err)
	}
	answer := make(chan error, 1)
	g.mu.Lock()
	if g.closing {
		g.mu.Unlock()
		return errors.New("ping: this node is stopping")
	}
	g.joins.Go(func() { // ends with the time for a probe, which nothing shortens
		_, err := g.list.Ping(id, net.UDPAddrFromAddrPort(at))
		answer <- err
	})
	g.mu.Unlock()
	select {
	case <-ctx.Done():
		return fmt.Errorf("ping %s: %w", id, context.Cause(ctx))
	case err := <-answer:
		return err
	}
}
