package cluster

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
)

// Nodes that start together do not wait for each other's answers: who asks one
// that starts is turned away at once, and whoever comes later is let in.
func TestNodesThatStartTogetherDoNotWait(t *testing.T) {
	ca, err := tlsconf.NewCA("pine", "c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	admit := turnAway(l)
	oak, id := holderOf(t, ca, "oak")
	asker := newPeers(oak, func(string) (string, bool) { return "", false }, guardOf(first), func() {})
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := asker.callAt(ctx, id, l.Addr().String(), http.MethodGet, "/v1/health", nil)
		if err == nil || ctx.Err() != nil || isTimeout(err) {
			t.Errorf("a node that starts: %v", err)
		}
		cancel()
	}
	admit()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if got.RemoteAddr().String() != c.LocalAddr().String() {
		t.Errorf("%s was let in, %s came", got.RemoteAddr(), c.LocalAddr())
	}
}

// A daemon that leads before it has applied its own log records its session all the same:
// if it took the empty state for a cluster without sessions, its hello was refused, as
// another's, and said again seconds later.
func TestALeaderThatHasYetToApplyItsLogRecordsItsSession(t *testing.T) {
	a := &Agent{store: fsm.NewStore(nil), cfg: Config{Now: time.Now}}
	err := a.record(t.Context(), "oak", &api.SessionClaim{Session: "s2", Starts: 2, Addr: "127.0.0.1:5050"}, func(ctx context.Context) error {
		_, err := a.store.Do(ctx, &fsm.ClusterInit{Level: fsm.Newest, Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "oak", Name: "oak"}})
		return err
	})
	if s := a.holder("oak"); err != nil || s != "s2" {
		t.Errorf("the session is %q, %v", s, err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout() || errors.Is(err, context.DeadlineExceeded)
}
