package gossip

import (
	"log/slog"
	"testing"

	"github.com/hashicorp/memberlist"
)

// As long as the daemon that speaks for a node is heard, another one with the
// node's id is not, unless it is at the same address, where it can only be the
// same node started again.
func TestSecondDaemonIsNotHeard(t *testing.T) {
	holder := "s1"
	tell := func(d *delegate, session, addr string) error {
		meta := Meta{ID: "oak-id", Name: "oak", Addr: addr, Boot: 1, Session: session}
		data, err := meta.encode()
		if err != nil {
			t.Fatal(err)
		}
		n := &memberlist.Node{Name: "oak-id", Meta: data}
		if err := d.NotifyAlive(n); err != nil {
			return err
		}
		d.NotifyJoin(n)
		return nil
	}
	for _, c := range []struct {
		name, session, addr, holder string
		gone, taken                 bool
	}{
		{"the same daemon", "s1", "10.0.0.1:1", "s1", false, true},
		{"a copy elsewhere", "s2", "10.0.0.2:1", "s1", false, false},
		{"a start at the same place", "s2", "10.0.0.1:1", "s1", false, true},
		{"one that was recorded", "s2", "10.0.0.2:1", "s2", false, true},
		{"nothing was recorded", "s2", "10.0.0.2:1", "", false, true},
		{"a program of before", "", "10.0.0.2:1", "s1", false, true},
		{"the first is gone", "s2", "10.0.0.2:1", "s1", true, true},
	} {
		d := &delegate{self: "ash-id", log: slog.New(slog.DiscardHandler), members: newMembers("ash-id", func(EventType, Member) {}), holder: func(string) string { return holder }}
		holder = "s1"
		if err := tell(d, "s1", "10.0.0.1:1"); err != nil {
			t.Fatal(err)
		}
		if c.gone {
			d.members.absent(Meta{ID: "oak-id"})
		}
		holder = c.holder
		if err := tell(d, c.session, c.addr); (err == nil) != c.taken {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
