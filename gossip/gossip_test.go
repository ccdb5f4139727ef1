package gossip

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/gossip/gossiptest"
)

func TestMembersMetaAndGoodbye(t *testing.T) {
	bubble(t, func(t *testing.T, net *gossiptest.Network) {
		nodes := startAll(t, net, 3)
		if a, ok := nodes[0].Addr(idOf(3)); !ok || a != addrOf(3) {
			t.Errorf("address of 3: %q %v", a, ok)
		}
		if _, ok := nodes[0].Addr("nobody"); ok {
			t.Error("an address for nobody")
		}
		meta := nodes[2].self()
		meta.Voter, meta.Version = true, "1.1.0"
		check(t, nodes[2].UpdateMeta(meta))
		within(t, 2*time.Second, "new meta", func() bool {
			m, _ := nodes[1].members.get(idOf(3))
			return m.Meta.Voter && m.Meta.Version == "1.1.0"
		})
		meta.Name = "other"
		if err := nodes[2].UpdateMeta(meta); err == nil {
			t.Error("a node took another name")
		}
		begin := time.Now()
		nodes[2].stop()
		if d := time.Since(begin); d > 4*time.Second {
			t.Errorf("the goodbye took %s", d)
		}
		for _, n := range nodes[:2] {
			within(t, 2*time.Second, "3 has left", func() bool { return n.state(idOf(3)) == Left })
			if a, _ := n.Addr(idOf(3)); a != addrOf(3) {
				t.Errorf("its last address is forgotten: %q", a)
			}
		}
		again := start(t, net, 3, addrOf(3), nil)
		_, err := again.Join(t.Context(), []string{addrOf(1)})
		check(t, err)
		within(t, 3*time.Second, "3 is back", func() bool { return allSee([]*node{nodes[0], nodes[1], again}, 3) })
	})
}

func TestDeadPeerIsFound(t *testing.T) {
	bubble(t, func(t *testing.T, net *gossiptest.Network) {
		nodes := startAll(t, net, 3)
		var mu sync.Mutex
		seen := map[EventType]bool{}
		for _, n := range nodes[:2] {
			go func() {
				for {
					select {
					case e := <-n.Events():
						if e.Member.ID == idOf(3) {
							mu.Lock()
							seen[e.Type] = true
							mu.Unlock()
						}
					case <-t.Context().Done():
						return
					}
				}
			}()
		}
		time.Sleep(20 * time.Second)
		check(t, nodes[2].tr.Shutdown())
		took := within(t, 5*time.Second, "3 has failed", func() bool {
			return nodes[0].state(idOf(3)) == Failed && nodes[1].state(idOf(3)) == Failed
		})
		if took < time.Second {
			t.Errorf("too rash: %s", took)
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if !seen[EventSuspect] || !seen[EventFail] || !seen[EventJoin] || seen[EventLeave] {
			t.Errorf("events %v", seen)
		}
	})
}

func TestPartitionHeals(t *testing.T) {
	bubble(t, func(t *testing.T, net *gossiptest.Network) {
		nodes := startAll(t, net, 4)
		net.Cut(addrOf(1), addrOf(2)) // the two others vouch for them
		time.Sleep(30 * time.Second)
		if nodes[2].count(Failed) != 0 || nodes[3].count(Failed) != 0 {
			t.Error("one cut line took a node down")
		}
		net.Heal(addrOf(1), addrOf(2))
		net.Isolate(addrOf(4), true)
		within(t, 20*time.Second, "4 is cut off", func() bool {
			return nodes[0].state(idOf(4)) == Failed && nodes[3].count(Failed) == 3
		})
		net.Isolate(addrOf(4), false)
		within(t, 30*time.Second, "4 is back", func() bool { return allSee(nodes, 4) })
	})
}

// Both sides of a cut give each other up, and for good as far as memberlist is
// concerned. However long it took, they find each other again by themselves.
func TestLongCutHeals(t *testing.T) {
	for _, length := range []time.Duration{9 * time.Second, 40 * time.Second, 10 * time.Minute} {
		t.Run(length.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, net *gossiptest.Network) {
				nodes := startAll(t, net, 4)
				net.Isolate(addrOf(4), true)
				time.Sleep(length)
				net.Isolate(addrOf(4), false)
				within(t, time.Minute, "all to see all", func() bool { return allSee(nodes, 4) })
			})
		})
	}
}

// Who is dead is looked for, ever more rarely, and is not said to be met where
// another node answers.
func TestTheDeadAreNotMetForEver(t *testing.T) {
	bubble(t, func(t *testing.T, net *gossiptest.Network) {
		var log bytes.Buffer
		nodes := startAll(t, net, 2)
		watcher := start(t, net, 3, addrOf(3), func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		_, err := watcher.Join(t.Context(), []string{addrOf(1)})
		check(t, err)
		within(t, 10*time.Second, "all are met", func() bool { return watcher.count(Alive) == 3 })
		net.Isolate(addrOf(2), true)
		within(t, time.Minute, "one is dead", func() bool { return watcher.state(idOf(2)) == Failed })
		if n := len(watcher.members.astray()); n != 1 {
			t.Errorf("%d are looked for", n)
		}
		check(t, nodes[1].tr.Shutdown())
		net.Isolate(addrOf(2), false)
		heir := start(t, net, 4, addrOf(2), nil)
		_, err = heir.Join(t.Context(), []string{addrOf(1)})
		check(t, err)
		within(t, 30*time.Second, "the heir is met", func() bool { return watcher.state(idOf(4)) == Alive })
		if n := len(watcher.members.astray()); n != 0 {
			t.Errorf("%d are looked for where another node is", n)
		}
		time.Sleep(5 * time.Minute)
		if strings.Contains(log.String(), "met a node again") {
			t.Errorf("it met a dead node:\n%s", log.String())
		}
	})
}

// A node that comes back at once with another address is the same node, and
// its new address is known before anybody has given up on the old one.
func TestSameNodeNewAddress(t *testing.T) {
	bubble(t, func(t *testing.T, net *gossiptest.Network) {
		nodes := startAll(t, net, 3)
		check(t, nodes[2].tr.Shutdown())
		time.Sleep(100 * time.Millisecond)
		moved := start(t, net, 3, "10.9.9.9:6060", nil)
		_, err := moved.Join(t.Context(), []string{addrOf(1), addrOf(2)})
		check(t, err)
		for _, n := range nodes[:2] {
			within(t, time.Second, "the new address", func() bool { a, _ := n.Addr(idOf(3)); return a == "10.9.9.9:6060" })
		}
		within(t, 12*time.Second, "the old address is given up", func() bool {
			for _, n := range nodes[:2] {
				for _, m := range n.list.Members() {
					if m.Name == idOf(3) && m.Address() == "10.9.9.9:6060" && n.state(idOf(3)) == Alive {
						goto next
					}
				}
				return false
			next:
			}
			return true
		})
		time.Sleep(30 * time.Second)
		if all := []*node{nodes[0], nodes[1], moved}; !allSee(all, 3) || len(nodes[0].Members()) != 3 {
			t.Errorf("members %v", nodes[0].Members())
		}
		if a, _ := nodes[0].Addr(idOf(3)); a != "10.9.9.9:6060" {
			t.Errorf("address went back to %s", a)
		}
	})
}

func TestBurstOfJoinsConverges(t *testing.T) {
	bubble(t, func(t *testing.T, net *gossiptest.Network) {
		net.Loss(0.1)
		const n = 20
		nodes := []*node{start(t, net, 1, addrOf(1), nil)}
		for i := 2; i <= n; i++ {
			x := start(t, net, i, addrOf(i), nil)
			nodes = append(nodes, x)
			go func() { // a chain of parents, and the first node
				if _, err := x.Join(t.Context(), []string{addrOf(i - 1), addrOf(1)}); err != nil {
					t.Error(err)
				}
			}()
		}
		took := within(t, 15*time.Second, "20 see 20", func() bool { return allSee(nodes, n) })
		t.Logf("converged in %s", took)
	})
}

func TestStrangersAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"wrong key":       func(c *Config) { c.Key = bytes.Repeat([]byte{8}, 32) },
		"another cluster": func(c *Config) { c.ClusterID = "fir" },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, net *gossiptest.Network) {
				one := start(t, net, 1, addrOf(1), nil)
				two := start(t, net, 2, addrOf(2), change)
				if n, err := two.Join(t.Context(), []string{addrOf(1)}); err == nil || n != 0 {
					t.Errorf("joined: %d, %v", n, err)
				}
				if n, err := one.Join(t.Context(), []string{addrOf(2)}); err == nil || n != 0 {
					t.Errorf("was joined: %d, %v", n, err)
				}
				time.Sleep(30 * time.Second)
				if len(one.Members()) != 1 || len(two.Members()) != 1 {
					t.Errorf("members %v and %v", one.Members(), two.Members())
				}
			})
		})
	}
}

func TestJoinEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, net *gossiptest.Network) {
		one := start(t, net, 1, addrOf(1), nil)
		start(t, net, 2, addrOf(2), nil)
		net.Isolate(addrOf(2), true)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		begin := time.Now()
		if n, err := one.Join(ctx, []string{addrOf(2)}); err == nil || n != 0 || time.Since(begin) > time.Second {
			t.Errorf("%d, %v after %s", n, err, time.Since(begin))
		}
		for _, seeds := range [][]string{nil, {addrOf(1)}, {"nonsense"}} {
			if n, err := one.Join(t.Context(), seeds); err == nil || n != 0 {
				t.Errorf("%q: %d, %v", seeds, n, err)
			}
		}
		one.stop()
		if _, err := one.Join(t.Context(), []string{addrOf(2)}); err == nil {
			t.Error("joined after the end")
		}
		if err := one.UpdateMeta(metaOf(1, addrOf(1))); err == nil {
			t.Error("updated after the end")
		}
	})
}

// Nobody reads the events, and memberlist continues; then the reader gets the
// latest of each node.
func TestSlowReaderGetsTheLatest(t *testing.T) {
	bubble(t, func(t *testing.T, net *gossiptest.Network) {
		nodes := startAll(t, net, 2)
		for i := range 20 {
			meta := nodes[1].self()
			meta.Voter = i%2 == 0
			check(t, nodes[1].UpdateMeta(meta))
		}
		nodes[1].stop()
		within(t, 3*time.Second, "2 has left", func() bool { return nodes[0].state(idOf(2)) == Left })
		last := map[string]Event{}
		for n := 0; ; n++ {
			select {
			case e := <-nodes[0].Events():
				last[e.Member.ID] = e
				continue
			case <-time.After(time.Second):
			}
			if n > 4 {
				t.Errorf("%d events were kept", n)
			}
			break
		}
		if e := last[idOf(2)]; e.Type != EventLeave || e.Member.State != Left {
			t.Errorf("last event %v %v", e.Type, e.Member)
		}
	})
}

func TestCopiedDataFolderIsNoticed(t *testing.T) {
	bubble(t, func(t *testing.T, net *gossiptest.Network) {
		var out lockedBuffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		one := start(t, net, 1, addrOf(1), nil)
		two := start(t, net, 2, addrOf(2), func(c *Config) { c.Log = log })
		_, err := two.Join(t.Context(), []string{addrOf(1)})
		check(t, err)
		time.Sleep(time.Second)
		clone := start(t, net, 2, addrOf(9), nil)
		if _, err := clone.Join(t.Context(), []string{addrOf(2), addrOf(1)}); err != nil {
			t.Fatal(err)
		}
		within(t, 20*time.Second, "the owner is told", func() bool { return strings.Contains(out.String(), "never copy a data folder") })
		time.Sleep(time.Minute)
		if n := strings.Count(out.String(), "never copy a data folder"); n != 1 {
			t.Errorf("told %d times", n)
		}
		if a, _ := two.Addr(idOf(2)); a != addrOf(2) {
			t.Errorf("it lost its own address to %s", a)
		}
		_ = one
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
