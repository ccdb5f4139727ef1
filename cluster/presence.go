package cluster

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
)

// watchGossip passes on that somebody came, went or moved, and remembers where
// the others are for the next start.
func (a *Agent) watchGossip(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.gossip.Load().Events():
			a.changed.notify()
			a.sightings.note(a.gossip.Load().Members())
			if err := a.rememberSeeds(); err != nil {
				a.log.Warn("remembering the other nodes failed", "err", err)
			}
		}
	}
}

func (a *Agent) rememberSeeds() error {
	var seeds []string
	for _, m := range a.gossip.Load().Members() {
		if m.ID != a.self.NodeID && m.State == gossip.Alive && len(seeds) < maxSeeds {
			seeds = append(seeds, m.Addr)
		}
	}
	slices.Sort(seeds)
	for _, old := range a.self.Seeds { // where one was that may come back
		if len(seeds) > 0 && len(seeds) < maxSeeds && !slices.Contains(seeds, old) {
			seeds = append(seeds, old)
		}
	}
	if len(seeds) == 0 || slices.Equal(seeds, a.self.Seeds) { // only this goroutine uses it after the start
		return nil
	}
	return a.changeSelf(func(n *datadir.Node) { n.Seeds = seeds })
}

// maxSeeds is how many addresses of others a node remembers: those that answer
// first, then the latest of the rest.
const maxSeeds = 16

// findSeeds notes where the other nodes were last.
func (a *Agent) findSeeds() {
	a.selfMu.Lock()
	seeds := slices.Concat(a.self.Seeds, a.cfg.Seeds, a.cfg.JoinAddrs)
	a.selfMu.Unlock()
	for n := range a.store.View().Nodes() {
		if n.ID != a.self.NodeID && n.Addr != "" && n.State != api.NodeGone {
			seeds = append(seeds, n.Addr)
		}
	}
	a.seeds = withPorts(seeds)
}

// rejoin looks for the other nodes where they were last, until one answers.
func (a *Agent) rejoin() {
	seeds := a.seeds
	a.stack.start("rejoin", func(ctx context.Context) error {
		retry := backoff.New(200*time.Millisecond, 10*time.Second)
		for try := 1; len(seeds) > 0 && ctx.Err() == nil; try++ {
			n, err := a.gossip.Load().Join(ctx, seeds)
			if n > 0 {
				break
			}
			a.log.Info("no other node answers yet", "err", err)
			for _, t := range a.ask(ctx, seeds) {
				_ = a.ages.compare(t.Node, t.line.String()) // it says so if that is why
			}
			if try%seedHint == 0 && a.leaderID() == "" && a.ages.behind() == nil {
				a.log.Warn("none of the nodes answers where it was last: if they have other addresses now, stop this node and start it with --seed ADDRESS of one that runs", "asked", seeds)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-a.gone: // nobody takes it in any more
				<-ctx.Done()
				return nil
			case <-a.renewed.wait():
			case <-time.After(retry.Next()):
			}
		}
		<-ctx.Done()
		return nil
	})
}

// seedHint is after how many tries in vain a node that moved is thought of.
const seedHint = 5

func (a *Agent) peerStatus(id string) peerStatus {
	for _, m := range a.gossip.Load().Members() {
		if m.ID != id {
			continue
		}
		switch m.State {
		case gossip.Alive, gossip.Suspect:
			return peerAlive
		case gossip.Left:
			return peerLeft
		}
		return peerFailed
	}
	return peerUnknown
}

// answers reports whether a node takes part as far as this node knows.
func (a *Agent) answers(id string) bool {
	return id == a.self.NodeID || a.peerStatus(id) == peerAlive
}

// addrOf is where a node is: gossip knows best, then the state.
func (a *Agent) addrOf(id string) (string, bool) {
	if g := a.gossip.Load(); g != nil {
		if addr, ok := g.Addr(id); ok {
			return addr, true
		}
	}
	if n := a.store.View().Node(id); n != nil && n.Addr != "" {
		return n.Addr, true
	}
	return "", false
}

func (a *Agent) nameOf(id string) string { return nodeName(a.store.View(), id) }

// leaderCache is what a node that takes no part in Raft knows of the leader.
type leaderCache struct {
	mu     sync.Mutex
	id     string
	asked  time.Time
	asking bool
}

// leaderAge is how long a worker trusts what it knows of the leader before it
// asks again, when somebody wants to know.
const leaderAge = 500 * time.Millisecond

// leaderID is the id of the leader, "" while none is known. A voter knows; a
// worker asks a voter, in the background.
func (a *Agent) leaderID() string {
	if id := a.raft.LeaderID(); id != "" {
		return id
	}
	if a.raft.HasConfiguration() && slices.Contains(a.raft.Voters(), a.self.NodeID) && len(a.raft.Voters()) == 1 {
		return ""
	}
	c := &a.leader
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.asking && time.Since(c.asked) > leaderAge {
		c.asking = true
		go a.askLeader()
	}
	return c.id
}

// askLeader asks the voters in turn who leads. It is bounded by its timeout,
// and at most one runs.
func (a *Agent) askLeader() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	voters := slices.DeleteFunc(a.members(), func(m gossip.Member) bool {
		return m.ID == a.self.NodeID || m.State != gossip.Alive || !m.Meta.Voter
	})
	leaders := make(chan string, len(voters))
	for _, m := range voters { // at once: the link to one of them may be cut
		go func() {
			var h api.Health
			_ = a.peers.call(ctx, m.ID, http.MethodGet, "/v1/health", nil, &h) // without an answer it names nobody
			leaders <- h.Leader
		}()
	}
	id := ""
	for range voters {
		if name := <-leaders; name != "" {
			if id = a.memberID(name); id != "" {
				break
			}
		}
	}
	a.leader.mu.Lock()
	defer a.leader.mu.Unlock()
	a.leader.id, a.leader.asked, a.leader.asking = id, time.Now(), false
}

func (a *Agent) memberID(name string) string {
	for _, m := range a.members() {
		if m.Name == name && m.State == gossip.Alive {
			return m.ID
		}
	}
	return ""
}

// callLeader sends a request to the leader, whoever it is just now, and waits
// for there to be one.
func (a *Agent) callLeader(ctx context.Context, method, path string, in, out any) error {
	for retry := backoff.New(20*time.Millisecond, 500*time.Millisecond); ; {
		err := error(api.Errorf(api.CodeUnavailable, "no node leads the cluster now"))
		if id := a.leaderID(); id != "" {
			err = a.peers.call(ctx, id, method, path, in, out)
			for _, other := range a.around(id, path, err) {
				if err = a.peers.call(ctx, other, method, path, in, out); !unlinked(err) {
					break
				}
			}
		}
		switch api.ErrorCode(err) {
		case "", api.CodeNotAllowed, api.CodeConflict, api.CodeInvalid, api.CodeNotFound:
			return err
		}
		if !retry.Wait(ctx) {
			return fmt.Errorf("%w (last: %w)", context.Cause(ctx), err)
		}
	}
}

// announce tells the cluster that this node is here, what it has, and when
// that changes, so that it is given work.
func (a *Agent) announce(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.exec.Synced(): // or tasks that belong elsewhere would still run here
	}
	res, err := a.cfg.resources()
	if err != nil {
		return err
	}
	w := a.store.WatchKey(a.self.NodeID, fsm.TableNodes)
	defer w.Close()
	tick := time.NewTicker(diskCheck)
	defer tick.Stop()
	retry := backoff.New(time.Second, 10*time.Second)
	var told *api.NodeHello
	for look := true; ; {
		if look {
			if a.exec.LookOutside(ctx) != nil {
				return nil // this node ends
			}
			look = false
		}
		if a.level() >= fsm.MemLimits.Level() {
			res.MemExtra, res.Pins = a.cfg.memExtra(res.Mem, a.host), pins(res.CPUs, a.host)
		}
		hello := &api.NodeHello{Addr: a.addr, Version: a.cfg.Version, Boot: bootID(), VoterOnly: a.self.VoterOnly, DiskFull: a.exec.DiskFull(),
			Attrs: a.attrs(), Resources: res, Outside: a.outsideNow(), Refill: a.refillNow(), KeeperSilent: a.exec.KeeperSilent() && a.level() >= fsm.SilentKeepers.Level(), Audit: a.auditMark(ctx, told), Flood: a.floodNow(), LogFault: a.logFaultNow()}
		if told == nil || told.Level != a.saidLevel() || told.DiskFull != hello.DiskFull || told.KeeperSilent != hello.KeeperSilent || !told.Resources.Equal(res) || !told.Refill.Equal(hello.Refill) || !told.Audit.Equal(hello.Audit) || !told.Flood.Equal(hello.Flood) || told.LogFault != hello.LogFault || a.forgotten() || a.mistaken(hello.Outside) {
			if err := a.hello(ctx, hello); err != nil {
				if a.notTaken(ctx, err); !retry.Wait(ctx) {
					return nil
				}
				continue
			}
			told = hello
			retry.Reset()
			a.refusal = ""
			a.announced.Store(true)
			a.joined.notify()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.Ready():
			w.Take()
			a.checkHolder(a.store.View().Node(a.self.NodeID))
		case <-a.lost.wait():
		case <-a.refilled.wait():
		case <-tick.C:
			look = true
			a.tellStanding()
		}
	}
}

// notTaken deals with a hello that failed. One of a node that was removed is not
// said again.
func (a *Agent) notTaken(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case a.removal.Load() != nil:
		<-ctx.Done()
	case isHeld(err):
		a.doubt.notify()
	case !refused(err) || err.Error() == a.refusal: // said once, as it is tried again until it is taken
	default:
		a.refusal = err.Error()
		a.log.Error("the cluster does not take this node; trying again", "err", err)
	}
}

// refused reports whether somebody who leads said no, where others say nothing or
// that nobody leads.
func refused(err error) bool {
	switch api.ErrorCode(err) {
	case api.CodeNotAllowed, api.CodeConflict, api.CodeInvalid, api.CodeNotFound, api.CodeTooLarge:
		return true
	}
	return false
}

// outsideNow is what to say of what other programs have: nothing to a cluster
// that does not ask for it.
func (a *Agent) outsideNow() *api.Outside {
	if a.level() < fsm.OutsideUse.Level() {
		return nil
	}
	return a.exec.Outside()
}

// refillNow is what to say of what this voter had lost, to a cluster that asks
// for it.
func (a *Agent) refillNow() *api.Refill {
	r := a.raft.Refilled()
	if r == nil || a.level() < fsm.RefilledVoters.Level() {
		return nil
	}
	return api.NewRefill(r.Lost, r.Entries, r.From)
}

// logFaultNow is why this voter cannot write its log, to a cluster that asks for it.
func (a *Agent) logFaultNow() string {
	if a.level() < fsm.LogFaults.Level() {
		return ""
	}
	return a.raft.Fault()
}

// mistaken reports whether the cluster thinks otherwise of what other programs
// have here.
func (a *Agent) mistaken(now *api.Outside) bool {
	n := a.ownRecord()
	return n != nil && !n.Outside.Equal(now)
}

// diskCheck is how often a change of "disk full" is looked for, and how often a
// voter tells how far it has come.
const diskCheck = 10 * time.Second

// forgotten reports whether the cluster thinks that this node is away.
func (a *Agent) forgotten() bool {
	state, known := a.ownState()
	return known && awayIn(state)
}

// saidLevel is the level that this node says it knows, 0 to a cluster that does
// not ask for one.
func (a *Agent) saidLevel() int {
	if a.level() > 0 {
		return int(fsm.Newest)
	}
	return 0
}

// hello tells the cluster what this node says of itself, and adds to it what
// only a cluster with levels knows.
func (a *Agent) hello(ctx context.Context, h *api.NodeHello) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := a.awaitCluster(ctx); err != nil {
		return err
	}
	if h.Level = a.saidLevel(); h.Level > 0 {
		h.Session = a.session
	}
	if a.raft.IsLeader() {
		_, err := a.store.Do(ctx, &fsm.NodeHello{Meta: fsm.Meta{At: a.cfg.Now(), Actor: "node:" + a.self.Name}, ID: a.self.NodeID, Hello: *h})
		return err
	}
	return a.callLeader(ctx, http.MethodPost, helloPath, h, nil)
}

// reporter takes the executor's statuses to the leader.
type reporter struct{ *Agent }

func (r reporter) Report(ctx context.Context, statuses []api.TaskStatus) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if r.level() < fsm.OutsideUse.Level() {
		statuses = sayAsBefore(statuses)
	}
	if r.level() < fsm.Accounts.Level() {
		statuses = withoutUse(statuses)
	}
	if r.raft.IsLeader() {
		_, err := r.store.Do(ctx, &fsm.TaskReport{Meta: fsm.Meta{At: r.cfg.Now(), Actor: "node:" + r.self.Name}, Statuses: statuses})
		return err
	}
	return r.callLeader(ctx, http.MethodPost, "/v1/internal/status", statuses, nil)
}

// withoutUse is statuses for a cluster that does not count what tasks use.
func withoutUse(sts []api.TaskStatus) []api.TaskStatus {
	out := slices.Clone(sts)
	for i := range out {
		out[i].Used, out[i].Started = nil, nil
	}
	return out
}

// sayAsBefore is statuses in the words of a cluster that does not know that other
// programs have ports.
func sayAsBefore(sts []api.TaskStatus) []api.TaskStatus {
	out := slices.Clone(sts)
	for i := range out {
		if out[i].Reason == api.ReasonPortTaken {
			out[i].Reason, out[i].Taken = api.ReasonStartFailed, nil
		}
	}
	return out
}
