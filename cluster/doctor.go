package cluster

import (
	"context"
	"fmt"
	"net"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/doctor"
	"github.com/mesita/mesita/cluster/localip"
	"golang.org/x/sync/errgroup"
)

const (
	wayWait   = 2 * time.Second // for a peer to answer, by TCP and by UDP
	waysAtAll = 16              // peers asked at a time
	maxWays   = 100             // that are asked
	clockOff  = 5 * time.Second // the Date of an answer has whole seconds
)

// Examine looks at what this node needs, and at the ways to the others.
func (l local) Examine(ctx context.Context) []api.Check {
	out := []api.Check{l.ownKernel(), l.ownAddress(), doctor.Disk(ctx, l.dir.Path), doctor.Space(l.dir.Path),
		doctor.Certificate(l.certs.Leaf(), l.cfg.Wall())}
	if l.exec.DiskFull() {
		out[3] = doctor.Fail("space", "make room, or lower --disk-reserve", "the data folder takes nothing more")
	}
	out = append(out, l.ways(ctx)...)
	for i := range out {
		out[i].Node = l.self.Name
	}
	return out
}

func (l local) ownKernel() api.Check {
	if warnings := l.host.Warnings(); len(warnings) > 0 && !l.cfg.VoterOnly {
		return doctor.Warn("kernel", doctor.BootV2, "isolation is %s: %s", l.host.Mode(), strings.Join(warnings, "; "))
	}
	return doctor.OK("kernel", "isolation is %s", l.host.Mode())
}

func (l local) ownAddress() api.Check {
	host, _, _ := net.SplitHostPort(l.addr)
	if ip := net.ParseIP(host); ip != nil && !localip.Has(ip) {
		return doctor.Warn("address", "if no router leads from there to this machine: mesita node config set advertise=ADDRESS",
			"the others are told %s, which this machine does not have", l.addr)
	}
	return doctor.OK("address", "%s is of this machine", l.addr)
}

// ways are what is wrong with those to other nodes, or that nothing is.
func (l local) ways(ctx context.Context) []api.Check {
	var (
		mu    sync.Mutex
		out   []api.Check
		group errgroup.Group
		peers int
		off   time.Duration // of the clock that differs most
		whose string
	)
	group.SetLimit(waysAtAll)
	for n := range l.store.View().Nodes() {
		if n.ID == l.self.NodeID || n.State == api.NodeGone || peers == maxWays {
			continue
		}
		peers++
		group.Go(func() error {
			found, ahead := l.way(ctx, n)
			mu.Lock()
			defer mu.Unlock()
			out = append(out, found...)
			if ahead.Abs() > off.Abs() {
				off, whose = ahead, n.Name
			}
			return nil
		})
	}
	_ = group.Wait() // none fails
	sort.Slice(out, func(i, j int) bool { return out[i].Found < out[j].Found })
	if len(out) == 0 {
		out = append(out, doctor.OK("ways", "TCP and UDP to %s", api.Count(peers, "other node")))
	}
	if off.Abs() > clockOff {
		return append(out, doctor.Warn("clock", "have both set by NTP", "that of %s is %s", whose, offBy(off)))
	}
	return append(out, doctor.OK("clock", "within %s of the others that answer", clockOff))
}

func offBy(off time.Duration) string {
	if off < 0 {
		return fmt.Sprintf("%s behind", -off.Round(time.Second))
	}
	return fmt.Sprintf("%s ahead", off.Round(time.Second))
}

// way is what is wrong with that to one node, and by how much its clock is ahead.
func (l local) way(ctx context.Context, n *api.Node) (out []api.Check, ahead time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, wayWait)
	defer cancel()
	port := portOf(n.Addr)
	began := l.cfg.Wall()
	at, err := l.clockOf(ctx, n.ID)
	if err != nil {
		out = append(out, doctor.Fail("ways", fmt.Sprintf("start mesita on %s, or open port %s for TCP there", n.Name, port),
			"no answer from %s (%s) by TCP: %v", n.Name, n.Addr, err))
	} else {
		ahead = at.Sub(began.Add(l.cfg.Wall().Sub(began) / 2))
	}
	if perr := l.gossip.Load().Ping(ctx, n.ID); perr != nil {
		out = append(out, doctor.Fail("ways", fmt.Sprintf("open port %s for UDP on %s and here", port, n.Name),
			"no answer from %s (%s) by UDP", n.Name, n.Addr))
	}
	return out, ahead
}
