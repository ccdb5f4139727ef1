package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mtu       = 9000
	mostDelay = 4096 // packets under way on one direction of a link

	downLook = 5 * time.Millisecond // how often it is looked whether a link is up again
)

// Wire is the switch between the nodes: it reads the packets that a node sends
// from its tun device and writes them to that of the node which has the
// address. What is wrong with a link is per direction, so it needs no module of
// the kernel and is the same on any machine.
type Wire struct {
	mu    sync.Mutex
	ports map[*Node]*port
	where map[string]*port // by the address that a node was given
	links map[[2]*Node]*link
	wg    sync.WaitGroup
}

type port struct {
	node *Node
	tun  *os.File
}

// Trouble is what is wrong with one direction of a link.
type Trouble struct {
	Cut   bool
	Delay time.Duration
	Loss  float64 // share of packets, 0 to 1
}

type link struct {
	Trouble
	late chan delayed // nil without delay
}

type delayed struct {
	due    time.Time
	packet []byte
}

func newWire() *Wire {
	return &Wire{ports: map[*Node]*port{}, where: map[string]*port{}, links: map[[2]*Node]*link{}}
}

// plug makes eth0 in the node's namespace and begins to serve it.
func (w *Wire) plug(n *Node) error {
	var p *port
	err := within(n.NS, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		req, err := unix.NewIfreq("eth0")
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			return errors.Join(fmt.Errorf("make eth0: %w", err), unix.Close(fd))
		}
		p = &port{n, os.NewFile(uintptr(fd), "tun of "+n.Name)}
		return nil
	})
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.ports[n], w.where[n.IP] = p, p
	w.mu.Unlock()
	w.wg.Go(func() { w.serve(p) })
	return nil
}

func (w *Wire) close() {
	w.mu.Lock()
	for _, p := range w.ports {
		p.tun.Close() // ends its reader
	}
	for _, l := range w.links {
		l.stop()
	}
	clear(w.ports)
	w.mu.Unlock()
	w.wg.Wait()
}

func (w *Wire) serve(p *port) {
	buf := make([]byte, mtu+64)
	for {
		n, err := p.tun.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		switch {
		case errors.Is(err, unix.EIO): // the link is down, and nothing tells when it is up
			time.Sleep(downLook)
			continue
		case errors.Is(err, unix.EINTR), err == nil && (n < 20 || buf[0]>>4 != 4): // no IPv6 here
			continue
		case err != nil:
			return
		}
		w.send(p, netip.AddrFrom4([4]byte(buf[16:20])).String(), buf[:n])
	}
}

func (w *Wire) send(from *port, dst string, packet []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if to := w.where[dst]; to != nil && to != from {
		w.pass(from, to, packet)
	}
}

// move notes that a node has another address now.
func (w *Wire) move(n *Node, ip string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.ports[n]
	if w.where[n.IP] == p { // nobody else has it since
		delete(w.where, n.IP)
	}
	n.IP = ip
	w.where[ip] = p
}

// pass is called with the lock held; a tun device takes a packet or drops it,
// and never blocks.
func (w *Wire) pass(from, to *port, packet []byte) {
	l := w.links[[2]*Node{from.node, to.node}]
	switch {
	case l == nil:
		_, _ = to.tun.Write(packet) // a network may lose packets
	case l.Cut || l.Loss > 0 && rand.Float64() < l.Loss:
	case l.late == nil:
		_, _ = to.tun.Write(packet)
	default:
		select {
		case l.late <- delayed{time.Now().Add(l.Delay), append([]byte(nil), packet...)}:
		default: // a full queue drops, as in any router
		}
	}
}

func (l *link) stop() {
	if l != nil && l.late != nil {
		close(l.late)
	}
}

// Set says what is wrong from now on with the way from one node to another; the
// zero Trouble is nothing.
func (w *Wire) Set(from, to *Node, t Trouble) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := [2]*Node{from, to}
	w.links[key].stop()
	delete(w.links, key)
	if t == (Trouble{}) {
		return
	}
	l := &link{Trouble: t}
	w.links[key] = l
	if t.Delay > 0 {
		l.late = make(chan delayed, mostDelay)
		out := w.ports[to].tun
		w.wg.Go(func() {
			for d := range l.late {
				time.Sleep(time.Until(d.due))
				_, _ = out.Write(d.packet) // a network may lose packets
			}
		})
	}
}

// Between is Set in both directions.
func (w *Wire) Between(a, b *Node, t Trouble) {
	w.Set(a, b, t)
	w.Set(b, a, t)
}

// Around is Between for all links of a node.
func (w *Wire) Around(n *Node, t Trouble) {
	for _, m := range n.Nodes {
		if m != n {
			w.Between(n, m, t)
		}
	}
}
