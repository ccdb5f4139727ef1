package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mesita/mesita/integration/lab"
)

// flooder is the first word of this program's command line as a process that
// floods, so that who asks meanwhile is not kept waiting by who floods.
const flooder = "flood"

// flooding is what such a process does, again and again, from many places at once.
type flooding struct {
	kind, addr string
	token      string
	from       []string // addresses
	done       *atomic.Int64
}

// nobody is a user without rights.
const nobody = 65534

// flood is that process: its kind, the address, how many at once, a token, and where
// from.
func flood(args []string) {
	f := &flooding{kind: args[0], addr: args[1], token: args[3], from: args[4:], done: new(atomic.Int64)}
	n, err := strconv.Atoi(args[2])
	act := kinds[f.kind]
	if err != nil || act == nil {
		panic(fmt.Sprint(args))
	}
	// More files than anybody has by default: a flood is not bounded by its own.
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 1 << 17, Max: 1 << 17}) // what there is must do
	if f.kind == "socket" || f.kind == "dev" {
		if err := syscall.Setuid(nobody); err != nil {
			panic(err)
		}
	}
	if f.kind == "dev" {
		fmt.Println(devAsNobody(f.addr))
		return
	}
	for i := range n {
		go func() {
			for {
				f.done.Add(1)
				act(f, i)
			}
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until whoever started this lets go, or ends
	fmt.Println(f.done.Load())
}

// dial is from the address whose turn it is. What is given up is gone at once, so
// that ports do not run out.
func (f *flooding) dial(i int) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	if len(f.from) > 0 {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(f.from[i%len(f.from)])}
	}
	c, err := d.Dial("tcp", f.addr)
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return nil, err
	}
	tc := c.(*net.TCPConn)
	return tc, tc.SetLinger(0)
}

// as is a process of this program in a node's network. It is another machine's, so it
// shall not take the CPUs that nodes have here.
func (r *run) as(n *lab.Node, args ...string) *exec.Cmd {
	self, err := os.Executable()
	r.must(err)
	c := exec.Command("nsenter", append([]string{"--net=/run/netns/" + n.NS, "nice", self, flooder}, args...)...)
	c.Stderr = os.Stderr
	return c
}

// asNobody is what another user of the machine sees.
func (r *run) asNobody(n *lab.Node, kind, addr string) (string, error) {
	out, err := r.as(n, kind, addr, "0", "").Output()
	return string(out), err
}

// flooded floods a node from a process of its own while f is done, and at least for
// as long as a flood lasts.
func (r *run) flooded(n *lab.Node, f flooding, at int, meanwhile func()) {
	if f.addr == "" {
		f.addr = n.IP + ":5050"
	}
	c := r.as(n, append([]string{f.kind, f.addr, fmt.Sprint(at), f.token}, f.from...)...)
	tether, err := c.StdinPipe() // a signal on the parent's death would come when a mere thread of it ends
	r.must(err)
	var out lastLine
	c.Stdout = &out
	r.must(c.Start())
	end := time.After(r.o.flood)
	meanwhile()
	select {
	case <-end:
	case <-r.ctx.Done():
	}
	_ = tether.Close() // it may have ended
	r.must(c.Wait())
	r.stage.Say("flood", "%s by %d at once for %v", out.get(), at, r.o.flood)
}

func nothing() {}

// strange are addresses in the node's network that are not node's.
func (r *run) strange(n *lab.Node, count int) (out []string) {
	_ = exec.Command("ip", "-n", n.NS, "addr", "add", "10.88.0.1/16", "dev", "lo").Run() // it may be there
	for i := range count {
		out = append(out, fmt.Sprintf("10.88.%d.%d", i/250, i%250+1))
	}
	return out
}

// lastLine keeps what was written last.
type lastLine struct {
	mu sync.Mutex
	b  []byte
}

func (l *lastLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b[:0], p...)
	return len(p), nil
}

func (l *lastLine) get() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b[:max(0, len(l.b)-1)])
}
