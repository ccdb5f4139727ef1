package cluster

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/mesita/mesita/cluster/datadir"
)

// A node finds the port of its executors again. If somebody else has it by now, executors may
// show him their tokens: these are worth nothing any more.
func TestPortOfExecutors(t *testing.T) {
	d, err := datadir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	begin := func() (*Agent, net.Listener) {
		t.Helper()
		a := &Agent{cfg: Config{Listen: "127.0.0.1:5050"}, dir: d, log: slog.New(slog.DiscardHandler)}
		l, err := a.listenExecutors()
		if err != nil {
			t.Fatal(err)
		}
		if a.hosts.Addr != l.Addr().String() || len(a.hosts.Key) != 32 {
			t.Errorf("%+v", a.hosts)
		}
		return a, l
	}
	first, l := begin()
	if at, err := netip.ParseAddrPort(first.hosts.Addr); err != nil || os.Geteuid() == 0 && at.Port() >= 1024 {
		t.Errorf("any user could have listened at %s: %v", first.hosts.Addr, err)
	}
	l.Close()
	again, l := begin()
	if again.hosts.Addr != first.hosts.Addr || !bytes.Equal(again.hosts.Key, first.hosts.Key) {
		t.Errorf("%+v is %+v after a restart", first.hosts, again.hosts)
	}
	defer l.Close() // who has it by now
	other, l2 := begin()
	defer l2.Close()
	if other.hosts.Addr == first.hosts.Addr || bytes.Equal(other.hosts.Key, first.hosts.Key) {
		t.Errorf("%+v is %+v once its port is taken", first.hosts, other.hosts)
	}
	kept, err := d.LoadExecutors()
	if err != nil || kept.Addr != other.hosts.Addr || !bytes.Equal(kept.Key, other.hosts.Key) {
		t.Errorf("%+v is kept: %v", kept, err)
	}
}
