package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/mesita/mesita/integration/lab"
)

const (
	healthWithin = 100 * time.Millisecond
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
	worst := map[string]time.Duration{}
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
					begun := time.Now()
					if err := ask(); err != nil && ctx.Err() == nil {
						if failed++; failed == 1 { // once is enough
							r.bound("%s does not say how it is, asked %s: %v", n.Name, way, err)
						}
					}
					mu.Lock()
					worst[way] = max(worst[way], time.Since(begun))
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
	for way, took := range worst {
		r.worst[way] = max(r.worst[way], took)
		if took > healthWithin {
			r.bound("a node needed %v to say how it is, asked %s", took, way)
		}
	}
	r.most = max(r.most, size)
	r.stage.Say("held", "%d MB; within %v", size>>20, worst)
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
			c, err = (&net.Dialer{}).DialContext(ctx, "unix", n.Socket)
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
