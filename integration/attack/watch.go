package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

const (
	healthWithin = 100 * time.Millisecond // of a hundred answers, all but one; see worstWithin
	worstWithin  = 250 * time.Millisecond // any answer: two cores have the cluster, its users and the flood
	sizeWithin   = 100 << 20
	sizeAtMost   = 256 << 20 // on whatever machine
)

// bound says that a figure is beyond what is promised of a machine that does nothing
// else, which is wrong if the run is strict.
func (r *run) bound(format string, args ...any) {
	if r.o.strict {
		r.stage.Errorf(format, args...)
	} else {
		r.stage.Say("figure", format, args...)
	}
}

// watched runs an attack, and has what every node answers meanwhile who asks how it
// is, in each way, how large it grows, and whether another leads afterwards. That each
// answers once the attack is over holds on every machine.
func (r *run) watched(a *attack) {
	leader := r.lab.Leader()
	ctx, cancel := context.WithCancel(r.ctx)
	var all sync.WaitGroup
	var mu sync.Mutex
	latest, slowest, took := map[string]answer{}, map[string]answer{}, map[string][]time.Duration{}
	size := int64(0)
	nodes := r.lab.Nodes
	if a.restarts {
		nodes = r.voters
	}
	for _, n := range nodes {
		for way, ask := range r.ways(n, a.crowded) {
			all.Go(func() {
				failed := 0
				for ctx.Err() == nil {
					a := r.timed(n, ask)
					if a.err != nil && ctx.Err() == nil {
						if failed++; failed == 1 { // once is enough
							r.bound("%s does not say how it is, asked %s: %v", n.Name, way, a.err)
						}
					}
					mu.Lock()
					took[way] = append(took[way], a.own)
					if a.took > latest[way].took {
						latest[way] = a
					}
					if a.own > slowest[way].own {
						slowest[way] = a
					}
					size = max(size, sizeOf(n.Cmd.Process.Pid))
					mu.Unlock()
					lab.Pause(ctx, 50*time.Millisecond)
				}
			})
		}
	}
	a.do(r)
	cancel()
	all.Wait()
	said := ""
	for _, way := range slices.Sorted(maps.Keys(took)) {
		most, nearlyAll, own := latest[way], within(took[way], 99), slowest[way]
		r.worst, r.took[way] = max(r.worst, most.took), max(r.took[way], nearlyAll)
		said += fmt.Sprintf("; %s %v, %v, %v of %d", way, ms(within(took[way], 50)), ms(nearlyAll), ms(most.took), len(took[way]))
		switch {
		case nearlyAll > healthWithin:
			r.bound("one answer in a hundred took more than %v, asked %s", ms(nearlyAll), way)
		case own.own > worstWithin:
			r.bound("%s needed %v to say how it is, asked %s%s", own.node, own.took, way, own.why())
		case most.took > healthWithin:
			r.stage.Say("figure", "%s needed %v to say how it is, asked %s%s", most.node, most.took, way, most.why())
		}
	}
	r.most = max(r.most, size)
	r.stage.Say("held", "%d MB; ms of half of the answers, of 99 of 100, of all%s", size>>20, said)
	switch {
	case size > sizeAtMost:
		r.stage.Errorf("a daemon had %d MB", size>>20)
	case size > sizeWithin:
		r.bound("a daemon had %d MB", size>>20)
	}
	if now := r.lab.Leader(); now != leader {
		r.bound("%s leads now, %s did", now.Name, leader.Name)
	}
	r.well()
}

// within is the time in which so many of a hundred answers came.
func within(took []time.Duration, percent int) time.Duration {
	slices.Sort(took)
	return took[(len(took)-1)*percent/100]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d)/float64(time.Millisecond)) }

// answer is how long a node needed for one.
type answer struct {
	node  string
	err   error
	took  time.Duration
	own   time.Duration // less what the machine itself was late by
	late  string        // what was late meanwhile
	where string        // what the node's threads did when it took long
}

// timed asks, and looks what the machine and the node do once the answer is late.
func (r *run) timed(n *lab.Node, ask func() error) answer {
	a := answer{node: n.Name}
	seen := make(chan string, 1)
	look := time.AfterFunc(2*healthWithin, func() { seen <- whereabouts(n) })
	begun := time.Now()
	a.err = ask()
	end := time.Now()
	if !look.Stop() {
		a.where = <-seen
	}
	a.took = end.Sub(begun)
	if a.own = a.took; a.took > healthWithin {
		lab.Pause(r.ctx, 10*healthWithin) // what the onlooker has to say of it is on its way, and late, too
		excused, late := r.machine.lateBy(begun, end)
		a.own, a.late = a.took-excused, late
	}
	return a
}

// why is what is known of a late answer.
func (a answer) why() string {
	why := "; meanwhile "
	if a.late == "" {
		why += "nothing else on the machine was late"
	} else {
		why += "the machine was late itself: " + a.late
	}
	if a.where != "" {
		why += "; after " + (2 * healthWithin).String() + " " + a.where
	}
	return why
}

// well waits until every node answers again, however busy the machine is.
func (r *run) well() {
	for _, n := range r.lab.Nodes {
		for way, ask := range r.ways(n, false) {
			var err error
			if !lab.Until(lab.Patience, func() bool { err = ask(); return err == nil }) {
				r.stage.Errorf("%s does not say how it is after the attack, asked %s: %v", n.Name, way, err)
			}
		}
	}
}

// ways are those by which a node is asked how it is.
func (r *run) ways(n *lab.Node, crowded bool) map[string]func() error {
	over := func(keep bool, dial func(context.Context) (net.Conn, error)) func() error {
		d := func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
		tr := &http.Transport{DialContext: d, DialTLSContext: d, DisableKeepAlives: !keep}
		c := &http.Client{Transport: tr, Timeout: lab.Patience}
		return func() error {
			if !keep {
				defer tr.CloseIdleConnections()
			}
			return healthy(c)
		}
	}
	secure := func(from *lab.Node) func(context.Context) (net.Conn, error) {
		return func(ctx context.Context) (net.Conn, error) {
			raw, err := from.DialTo(n)
			if err != nil {
				return nil, err
			}
			c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
			return c, c.HandshakeContext(ctx)
		}
	}
	socket := func(ctx context.Context) (c net.Conn, err error) {
		lab.Until(lab.Patience, func() bool { // as our clients do while others crowd there
			c, err = (&net.Dialer{}).DialContext(ctx, "unix", api.RootSocket(n.Socket))
			return !errors.Is(err, syscall.EAGAIN)
		})
		return c, err
	}
	peer := r.voters[0]
	if n == peer {
		peer = r.voters[1]
	}
	ways := map[string]func() error{
		"over its socket":          over(false, socket),
		"over a connection it has": over(true, secure(n)),
		"from where a node is":     over(false, secure(peer)),
		"from where nobody was":    over(false, secure(n)),
	}
	if crowded {
		delete(ways, "from where nobody was")
	}
	return ways
}

func healthy(c *http.Client) error {
	res, err := c.Get("https://mesita/v1/health")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", res.StatusCode, b)
	}
	return err
}

// sizeOf is what a process has of the memory, in bytes; 0 if it is gone.
func sizeOf(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	f := bytes.Fields(b)
	pages, err := strconv.ParseInt(string(f[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
