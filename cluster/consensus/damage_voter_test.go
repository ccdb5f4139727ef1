package consensus

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/cluster/consensus/disk"
)

// voterDisk is what a voter of a test keeps: its folder, and what it remembers
// beside that.
type voterDisk struct {
	dir string

	mu     sync.Mutex
	before *Standing
}

func (d *voterDisk) config(c *Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.Dir, c.LogStore, c.StableStore, c.SnapshotStore = d.dir, nil, nil, nil
	c.Before = d.before
	c.Remember = func(s Standing) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.before = &s
		return nil
	}
}

// diskVoters is a cluster of three on disks, in fake time.
func diskVoters(t *testing.T) (*memCluster, []*voterDisk) {
	t.Helper()
	var disks []*voterDisk
	c := newMemCluster(t, 3, func(i int, cfg *Config) {
		disks = append(disks, &voterDisk{dir: filepath.Join(t.TempDir(), "raft")})
		disks[i].config(cfg)
	})
	return c, disks
}

func (c *memCluster) stop(is ...int) {
	c.t.Helper()
	for _, i := range is {
		if err := c.nodes[i].end(); err != nil {
			c.t.Fatal(err)
		}
		c.wires[i].DisconnectAll()
		for j, w := range c.wires {
			if j != i {
				w.Disconnect(c.wires[i].LocalAddr())
			}
		}
	}
}

// restart starts a node that was stopped, in the place where it was. The leader
// learns of it as it does over a network, where the connections break: by a heartbeat
// that fails. In memory a stop that none falls into would go unnoticed.
func (c *memCluster) restart(i int, d *voterDisk, change func(*Config)) {
	c.t.Helper()
	c.settle(beatEvery)
	cfg := c.config(i)
	c.wires[i] = cfg.Transport.(*raft.InmemTransport)
	hearts := newFastHearts(c.wires[i])
	cfg.Transport = hearts
	c.t.Cleanup(func() { close(hearts.ending) })
	d.config(&cfg)
	if change != nil {
		change(&cfg)
	}
	c.nodes[i] = startNode(c.t, cfg)
	c.link(i)
}

func (c *memCluster) noLeader(is ...int) {
	c.t.Helper()
	for _, i := range is {
		if c.nodes[i].IsLeader() {
			c.t.Errorf("%s leads", c.nodes[i].id)
		}
	}
}

// Three voters; what ten writes put on A and B is lost on B while all are
// stopped, and C never had it. B and C must not decide anything before A is
// back: they would do it without those writes.
func TestVoterThatLostItsLogDoesNotVote(t *testing.T) {
	lose := map[string]func(t *testing.T, dir string) error{
		"log removed":   func(_ *testing.T, dir string) error { return os.Remove(filepath.Join(dir, disk.LogName)) },
		"log emptied":   func(_ *testing.T, dir string) error { return os.Truncate(filepath.Join(dir, disk.LogName), 0) },
		"folder gone":   func(_ *testing.T, dir string) error { return os.RemoveAll(dir) },
		"folder behind": nil, // see below
	}
	for name, damage := range lose {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, disks := diskVoters(t)
				old := filepath.Join(t.TempDir(), "old")
				const a, b = 0, 1
				if c.leader() != a {
					t.Fatal("another leads")
				}
				c.stop(2)
				if damage == nil {
					c.stop(b)
					if err := copyDir(disks[b].dir, old); err != nil {
						t.Fatal(err)
					}
					c.restart(b, disks[b], nil)
					c.settle(5 * time.Second)
					if !c.nodes[a].IsLeader() {
						t.Fatal("another leads")
					}
				}
				for _, cmd := range cmds("j", 10) {
					c.nodes[a].must(t, cmd)
				}
				c.settle(time.Second)
				c.stop(b, a)
				if damage != nil {
					if err := damage(t, disks[b].dir); err != nil {
						t.Fatal(err)
					}
				} else if err := errors.Join(os.RemoveAll(disks[b].dir), os.Rename(old, disks[b].dir)); err != nil {
					t.Fatal(err)
				}
				c.restart(b, disks[b], nil)
				c.restart(2, disks[2], nil)
				for range 2 { // a second start is not a cure
					c.settle(20 * time.Second)
					c.noLeader(b, 2)
					if err := c.nodes[b].Damaged(); err == nil || !strings.Contains(err.Error(), disk.LogName) {
						t.Errorf("B says of itself: %v", err)
					}
					c.stop(b)
					c.restart(b, disks[b], nil)
				}
				c.restart(a, disks[a], nil)
				c.settle(10 * time.Second)
				leader := c.nodes[c.leader()]
				leader.must(t, createJob("after"))
				c.settle(2 * time.Second)
				for _, n := range c.nodes {
					if n.store.View().Job("j-9") == nil || !bytes.Equal(n.bytes(t), leader.bytes(t)) {
						t.Errorf("%s lacks what was acknowledged", n.id)
					}
				}
				if err := c.nodes[b].Damaged(); err != nil {
					t.Errorf("B is not whole again: %v", err)
				}
				c.stop(a) // now B's vote is needed, and right
				c.settle(5 * time.Second)
				c.nodes[c.leader(a)].must(t, createJob("without-a"))
			})
		})
	}
}

// A copy of an older folder is put back with all that is beside it, so that the
// node itself cannot know; but others saw how far it was.
func TestOthersVetoAnOlderCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, disks := diskVoters(t)
		const a, b = 0, 1
		c.stop(b)
		old, before := filepath.Join(t.TempDir(), "old"), *disks[b].before
		if err := copyDir(disks[b].dir, old); err != nil {
			t.Fatal(err)
		}
		c.restart(b, disks[b], nil)
		c.stop(2)
		c.settle(5 * time.Second)
		c.nodes[c.leader()].must(t, createJob("j"))
		c.settle(time.Second)
		seen, err := c.nodes[b].Standing()
		if err != nil || seen.LastIndex != c.nodes[a].LastIndex() || seen.Term == 0 {
			t.Errorf("B is at %+v: %v", seen, err)
		}
		c.stop(b, a)
		if err := errors.Join(os.RemoveAll(disks[b].dir), os.Rename(old, disks[b].dir)); err != nil {
			t.Fatal(err)
		}
		disks[b].before = &before
		worker := func(cfg *Config) { cfg.Ask = func(context.Context) (Standing, error) { return seen, nil } }
		c.restart(b, disks[b], worker)
		c.restart(2, disks[2], nil)
		c.settle(20 * time.Second)
		c.noLeader(b, 2)
		if err := c.nodes[b].Damaged(); err == nil || !strings.Contains(err.Error(), "older copy") {
			t.Errorf("B says of itself: %v", err)
		}
		c.restart(a, disks[a], nil)
		c.settle(10 * time.Second)
		if c.nodes[2].store.View().Job("j") == nil || c.nodes[b].Damaged() != nil {
			t.Errorf("what was acknowledged is lost, or B is not whole: %v", c.nodes[b].Damaged())
		}
		c.refilled(b, "older copy")
		for _, n := range []int{a, 2} {
			if r := c.nodes[n].Refilled(); r != nil {
				t.Errorf("node %d had lost nothing: %+v", n, r)
			}
		}
	})
}

// refilled checks that a node tells what it had lost, and from whom it has it again.
func (c *memCluster) refilled(i int, lost string) {
	c.t.Helper()
	r := c.nodes[i].Refilled()
	if r == nil || !strings.Contains(r.Lost, lost) || r.Entries == 0 || r.From != c.nodes[c.leader()].id {
		c.t.Errorf("it was an older copy, and tells of %+v", r)
	}
}

// A leader that fills a voter in before the others have told it that its folder is
// an older copy keeps nobody from hearing of it.
func TestAnOlderCopyThatIsFilledInAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, disks := diskVoters(t)
		const b = 1
		c.stop(b)
		old, before := filepath.Join(t.TempDir(), "old"), *disks[b].before
		if err := copyDir(disks[b].dir, old); err != nil {
			t.Fatal(err)
		}
		c.restart(b, disks[b], nil)
		c.settle(5 * time.Second)
		c.nodes[c.leader()].must(t, createJob("j"))
		c.settle(time.Second)
		seen, err := c.nodes[b].Standing()
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		slow := func(cfg *Config) {
			cfg.Refilled = func() { told++ }
			cfg.Ask = func(context.Context) (Standing, error) { time.Sleep(time.Second); return seen, nil }
		}
		c.stop(b)
		c.restart(b, disks[b], slow)
		c.settle(5 * time.Second)
		if r := c.nodes[b].Refilled(); r != nil || told != 0 {
			t.Errorf("it had lost nothing: %+v", r)
		}
		c.stop(b)
		if err := errors.Join(os.RemoveAll(disks[b].dir), os.Rename(old, disks[b].dir)); err != nil {
			t.Fatal(err)
		}
		disks[b].before = &before
		c.restart(b, disks[b], slow)
		c.settle(5 * time.Second)
		if c.nodes[b].Damaged() != nil || told != 1 {
			t.Errorf("it is %v, and told so %d times", c.nodes[b].Damaged(), told)
		}
		c.refilled(b, "older copy")
	})
}

// A disk that takes no note of the damage changes nothing about the vote; and as
// soon as it takes notes again the voter is whole, without a restart.
func TestDamageOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, disks := diskVoters(t)
		const a, b = 0, 1
		c.stop(b)
		old, before := filepath.Join(t.TempDir(), "old"), *disks[b].before
		if err := copyDir(disks[b].dir, old); err != nil {
			t.Fatal(err)
		}
		c.restart(b, disks[b], nil)
		c.stop(2)
		c.settle(5 * time.Second)
		c.nodes[c.leader()].must(t, createJob("j"))
		c.settle(time.Second)
		seen, err := c.nodes[b].Standing()
		if err != nil {
			t.Fatal(err)
		}
		c.stop(b, a)
		if err := errors.Join(os.RemoveAll(disks[b].dir), os.Rename(old, disks[b].dir)); err != nil {
			t.Fatal(err)
		}
		disks[b].before = &before
		var full atomic.Bool
		full.Store(true)
		answer := make(chan struct{})
		c.restart(b, disks[b], func(cfg *Config) {
			cfg.Ask = func(context.Context) (Standing, error) { <-answer; return seen, nil }
		})
		note := c.nodes[b].stores.setDamaged
		c.nodes[b].stores.setDamaged = func(yes bool) error {
			if full.Load() {
				return errors.New("no space left on device")
			}
			return note(yes)
		}
		close(answer)
		c.restart(2, disks[2], nil)
		c.settle(20 * time.Second)
		c.noLeader(b, 2)
		if err := c.nodes[b].Damaged(); err == nil || !strings.Contains(err.Error(), "older copy") {
			t.Errorf("B says of itself: %v", err)
		}
		c.restart(a, disks[a], nil)
		c.settle(10 * time.Second)
		if c.nodes[b].store.View().Job("j") == nil {
			t.Error("B was not filled in")
		}
		full.Store(false)
		c.settle(5 * time.Second)
		if err := c.nodes[b].Damaged(); err != nil || c.nodes[b].stores.file.Damaged() {
			t.Errorf("B is not whole with room on its disk: %v", err)
		}
	})
}

// Who does not answer must not keep a cluster from starting whose power was cut
// as a whole.
func TestSilenceDoesNotHoldAVoteBackForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, disks := diskVoters(t)
		c.stop(0, 1, 2)
		silent := func(cfg *Config) {
			cfg.Ask = func(ctx context.Context) (Standing, error) { <-ctx.Done(); return Standing{}, nil }
		}
		c.restart(0, disks[0], silent)
		c.restart(1, disks[1], silent)
		c.settle(time.Second)
		c.noLeader(0, 1)
		c.settle(3 * time.Second)
		c.nodes[c.leader(2)].must(t, createJob("j"))
	})
}

// A voter that was away for long is fed as soon as it is back, not when raft's
// ever longer waits are over.
func TestVoterThatWasAwayIsFedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, disks := diskVoters(t)
		leader := c.nodes[0]
		for _, feed := range []string{"entries", "a snapshot"} {
			c.stop(2)
			leader.must(t, createJob("j-"+strings.Fields(feed)[0]))
			if feed != "entries" {
				if err := errors.Join(leader.raft.Snapshot().Error(), leader.stores.file.DeleteRange(0, leader.LastIndex())); err != nil {
					t.Fatal(err)
				}
			}
			c.settle(2 * time.Minute)
			c.restart(2, disks[2], nil)
			c.settle(time.Second)
			if n := c.nodes[2]; !n.CaughtUp() || n.store.View().Index() != leader.store.View().Index() {
				t.Errorf("by %s: a second after its start it is at %d, the leader at %d", feed, n.store.View().Index(), leader.store.View().Index())
			}
		}
	})
}

// Nobody waits for a node that is away once it is not a member, or this node leads
// no more.
func TestNobodyWaitsForANodeThatDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ending := make(chan struct{})
		a := newAway(ending)
		var member atomic.Bool
		member.Store(true)
		results := make(chan error, 1)
		ask := func() {
			a.tried("n1", errors.New("refused"))
			go func() { results <- a.await("n1", member.Load) }()
			synctest.Wait()
		}
		ask()
		time.Sleep(time.Hour) // fake
		synctest.Wait()
		if len(results) != 0 {
			t.Error("it did not wait")
		}
		a.forget()
		if err := <-results; err != nil {
			t.Error(err)
		}
		ask()
		member.Store(false)
		if err := <-results; !errors.Is(err, errAway) {
			t.Error(err)
		}
		ask()
		close(ending)
		if err := <-results; !errors.Is(err, errEnding) {
			t.Error(err)
		}
	})
}

// That a node takes part is remembered before it writes anything that counts.
func TestTakingPartIsRememberedFirst(t *testing.T) {
	full := errors.New("no space left on device")
	dir := t.TempDir()
	l := listenTCP(t)
	m := startNode(t, Config{NodeID: "n0", Dir: dir, Stream: l, Remember: func(Standing) error { return full }})
	if err := m.Bootstrap(l.Addr().String()); err == nil || !strings.Contains(err.Error(), full.Error()) {
		t.Errorf("bootstrap: %v", err)
	}
	if last, _ := m.stores.logs.LastIndex(); last != 0 {
		t.Errorf("%d entries were written all the same", last)
	}
}

// A node that was filled by a snapshot and has applied no entry since does not go
// back to an older one either.
func TestNoOlderSnapshotAfterARestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 1, nil)
		state := c.nodes[0].bytes(t)
		cfg := c.config(1)
		inner := cfg.Transport.(*raft.InmemTransport)
		hearts := newFastHearts(inner)
		cfg.Transport = hearts
		t.Cleanup(func() { close(hearts.ending) })
		n := startNode(t, cfg)
		tr := stranger(t, inner)
		install := func(term, index uint64) error {
			servers := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "x", Address: "stranger"}, {ID: "n1", Address: "a1"}}})
			return tr.InstallSnapshot("n1", "a1", &raft.InstallSnapshotRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("x"), Addr: []byte("stranger")},
				SnapshotVersion: 1, Term: term, LastLogIndex: index, LastLogTerm: 1, Configuration: servers, ConfigurationIndex: 1, Size: int64(len(state))},
				new(raft.InstallSnapshotResponse), bytes.NewReader(state))
		}
		if err := errors.Join(install(90, 1000), install(90, 1000)); err != nil {
			t.Fatal(err)
		}
		if err := install(91, 900); err == nil || !strings.Contains(err.Error(), "up to 1000 took effect here") {
			t.Errorf("an older snapshot: %v", err)
		}
		if last := n.LastIndex(); last != 1000 {
			t.Errorf("it is at %d", last)
		}
	})
}

// lostLog restarts the second of three voters without its log.
func lostLog(t *testing.T, ask func(leader *member) Standing) (c *memCluster, leader, lost *member) {
	t.Helper()
	c, disks := diskVoters(t)
	c.stop(1)
	if err := os.Remove(filepath.Join(disks[1].dir, disk.LogName)); err != nil {
		t.Fatal(err)
	}
	leader = c.nodes[c.leader()]
	c.restart(1, disks[1], func(cfg *Config) {
		cfg.Ask = func(context.Context) (Standing, error) { return ask(leader), nil }
	})
	return c, leader, c.nodes[1]
}

// A damaged voter that is filled in at once votes no sooner than it knows what
// the others saw of it.
func TestDamagedVoterWaitsForWhatOthersSaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, lost := lostLog(t, func(*member) Standing { time.Sleep(10 * time.Second); return Standing{} }) // fake
		c.settle(9 * time.Second)
		if lost.Damaged() == nil {
			t.Error("it is whole before the others answered")
		}
		c.settle(5 * time.Second)
		if err := lost.Damaged(); err != nil {
			t.Errorf("it is not whole: %v", err)
		}
	})
}

// No leader from before what a damaged voter had seen counts on it.
func TestDamagedVoterAnswersNoOldLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, leader, lost := lostLog(t, func(leader *member) Standing { return Standing{Term: leader.Stats().Term + 1} })
		c.settle(10 * time.Second)
		if silent := time.Since(lost.raft.LastContact()); lost.Damaged() == nil || silent < 5*time.Second {
			t.Errorf("it answered a leader from before %v ago: %v", silent, lost.Damaged())
		}
		if err := leader.raft.LeadershipTransferToServer("n2", "a2").Error(); err != nil {
			t.Fatal(err)
		}
		c.settle(5 * time.Second)
		if err := lost.Damaged(); err != nil {
			t.Errorf("it is not whole: %v", err)
		}
	})
}
