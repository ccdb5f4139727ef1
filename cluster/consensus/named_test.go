package consensus

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// street says who lives at which address, and is a stream layer's check of it.
type street struct {
	mu      sync.Mutex
	at      map[string]string // ids by address
	refused atomic.Int64      // dials that another one would have answered
}

type checked struct {
	tcp
	street *street
}

func (c checked) DialNode(id, addr string, d time.Duration) (net.Conn, error) {
	c.street.mu.Lock()
	lives := c.street.at[addr]
	c.street.mu.Unlock()
	if lives != id {
		c.street.refused.Add(1)
		return nil, errors.New("it is another node")
	}
	return net.DialTimeout("tcp", addr, d)
}

// The addresses that a node knows of the others are its own now: it does not
// answer itself in their name, and so does not elect itself.
func TestVotesAreOfWhoIsMeant(t *testing.T) {
	s := &street{at: map[string]string{}}
	var moved atomic.Pointer[string]
	var nodes []*member
	for i := range 3 {
		l := listenTCP(t)
		id, addr := fmt.Sprintf("n%d", i), l.Addr().String()
		s.mu.Lock()
		s.at[addr] = id
		s.mu.Unlock()
		m := startNode(t, Config{NodeID: id, Dir: t.TempDir(), Stream: checked{l, s}, AddrOf: func(string) (string, bool) {
			if to := moved.Load(); to != nil {
				return *to, true
			}
			return "", false
		}})
		nodes = append(nodes, m)
		if i == 0 {
			if err := m.Bootstrap(addr); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "a leader", m.IsLeader)
			m.must(t, initCluster())
			continue
		}
		addVoter(t, nodes[:i], id, addr)
	}
	if n := s.refused.Load(); n != 0 {
		t.Errorf("%d dials went to the wrong node", n)
	}
	own := nodes[0].cfg.Stream.(checked).Addr().String()
	moved.Store(&own)
	_ = nodes[1].end() // what it did does not matter here
	_ = nodes[2].end() // what it did does not matter here
	waitFor(t, "the lead to be lost", func() bool { return !nodes[0].IsLeader() })
	refused := s.refused.Load()
	waitFor(t, "it to ask for votes", func() bool { return s.refused.Load() > refused+6 || nodes[0].IsLeader() })
	if nodes[0].IsLeader() {
		t.Error("it elected itself by its own answers")
	}
}
