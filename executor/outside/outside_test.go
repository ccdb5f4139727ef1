package outside

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

func none() api.Ranges { return nil }

// taken opens a port that the machine chooses, and says which.
func taken(t *testing.T, network, host string) (port int, free func()) {
	t.Helper()
	if strings.HasPrefix(network, "udp") {
		c, err := net.ListenPacket(network, host+":0")
		if err != nil {
			t.Skip(err) // no IPv6
		}
		t.Cleanup(func() { c.Close() })
		return c.LocalAddr().(*net.UDPAddr).Port, func() { c.Close() }
	}
	l, err := net.Listen(network, host+":0")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port, func() { l.Close() }
}

func watch(port int) *Watch {
	return New(Config{Name: "oak", Has: api.Resources{Ports: api.Ranges{{First: int64(port), Last: int64(port)}}}})
}

// Whoever has a port, however it is bound, is seen by a look and met by a task
// that is to start, with its name and process. A port is free again once it is.
func TestTakenPorts(t *testing.T) {
	me := fmt.Sprintf("(pid %d)", os.Getpid())
	for _, network := range []string{"tcp4", "tcp6", "udp4", "udp6"} {
		for _, host := range map[string][]string{"4": {"0.0.0.0", "127.0.0.1", "127.0.0.9"}, "6": {"[::]", "[::1]"}}[network[3:]] {
			t.Run(network+" "+host, func(t *testing.T) {
				port, free := taken(t, network, host)
				w := watch(port)
				w.Look(none)
				who := w.Told().Holder(w.cfg.Has.Ports)
				if !strings.Contains(who, me) {
					t.Fatalf("a look says %q", who)
				}
				err := w.Free(map[string]int{"http": port})
				var held *TakenError
				if !errors.As(err, &held) || !strings.Contains(err.Error(), me) || !strings.Contains(err.Error(), network[:3]+" ") {
					t.Fatalf("a start is told %v", err)
				}
				if (&api.Outside{Ports: held.Holders}).Holder(w.cfg.Has.Ports) != who {
					t.Errorf("the refusal names %v, the look %s", held.Holders, who)
				}
				free()
				for range gone {
					if w.Told() == nil {
						t.Error("it is free at the first look without it")
					}
					w.Look(none)
				}
				if w.Told() != nil || w.Free(map[string]int{"http": port}) != nil {
					t.Errorf("it is free, and told is %+v", w.Told())
				}
			})
		}
	}
}

// A connection that was closed here keeps its port for a minute, and keeps no
// server from it.
func TestClosedConnectionTakesNoPort(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.Close() // first: it is this end that waits
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("it is not closed")
	}
	c.Close()
	l.Close()
	if err := watch(port).Free(map[string]int{"http": port}); err != nil {
		t.Error(err)
	}
}

// A port of the kernel's, or of a container that is not seen from here, costs no
// look at all open files each time.
func TestNobodysPortIsNotLookedForAgain(t *testing.T) {
	port, _ := taken(t, "tcp4", "127.0.0.1")
	w := watch(port)
	w.cfg.Proc = t.TempDir() // nobody is seen
	for range ask {
		w.Look(none)
	}
	p := w.ports[int64(port)]
	if p == nil || p.by != "" {
		t.Skipf("the kernel tells of no sockets: %+v", p)
	}
	fd := filepath.Join(w.cfg.Proc, "7", "fd")
	if err := os.MkdirAll(fd, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(fmt.Sprintf("socket:[%d]", p.socket.inode), filepath.Join(fd, "3")); err != nil {
		t.Fatal(err)
	}
	if w.Look(none); p.by != "" {
		t.Errorf("it is looked for again, and found to be of %s", p.by)
	}
	p.socket.inode++ // another socket has it by now
	if w.Look(none); p.by != "process 7" {
		t.Errorf("whose another socket is, is not looked for: %q", p.by)
	}
}

// Ports of tasks are theirs; what is bound for less than two looks is not told.
func TestLookTellsWhatLasts(t *testing.T) {
	port, free := taken(t, "tcp4", "127.0.0.1")
	w := watch(port)
	w.Look(func() api.Ranges { return w.cfg.Has.Ports })
	if w.Told() != nil {
		t.Fatal("a task's own port is told")
	}
	w.Look(none) // the task ended, and another program has it
	if w.Told() != nil {
		t.Fatal("it is told at once")
	}
	w.Look(none)
	if w.Told() == nil {
		t.Fatal("what lasts is not told")
	}
	free()
	w = watch(port)
	w.Look(none)
	again, err := net.Listen("tcp4", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Skip(err) // somebody else has it
	}
	w.Look(none)
	again.Close()
	if w.Look(none); w.Told() != nil {
		t.Error("what came and went is told")
	}
}

// A port that is bound and not listened to is in no list: who was refused it is
// not sent there again while it is so.
func TestBoundPortStaysRefused(t *testing.T) {
	port, fd := bindOnly(t)
	w := watch(port)
	w.Look(none)
	if w.Free(map[string]int{"http": port}) == nil {
		t.Fatal("it is given")
	}
	for range 2 * gone {
		if w.Look(none); w.Told() == nil {
			t.Fatal("it is told to be free")
		}
	}
	closeFD(t, fd)
	for range gone {
		w.Look(none)
	}
	if w.Told() != nil {
		t.Error("it is free and not told to be")
	}
}

// The kernel's tables say what its answers say.
func TestTablesAndAnswersAgree(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6", "udp4", "udp6"} {
		host := map[string]string{"4": "127.0.0.9", "6": "[::1]"}[network[3:]]
		port, _ := taken(t, network, host)
		var of [2]socket
		family := map[string]int{"4": 2, "6": 10}[network[3:]]
		for i, read := range []func(func(socket)) error{
			func(add func(socket)) error { return diagnose(network[:3], family, add) },
			func(add func(socket)) error { return readTable("/proc", network[:3], family, add) },
		} {
			if err := read(func(s socket) {
				if s.port == int64(port) {
					of[i] = s
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		if of[0] != of[1] || of[0].inode == 0 || of[0].addr.String() != strings.Trim(host, "[]") {
			t.Errorf("%s: %+v, %+v", network, of[0], of[1])
		}
	}
}

// Whatever the kernel's answer holds, it is read to its end.
func FuzzMessages(f *testing.F) {
	f.Add([]byte{255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(append([]byte{88, 0, 0, 0, 20, 0}, make([]byte, 82)...)) // a socket of nobody
	f.Add([]byte{20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 254, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		_, err := messages(b, "tcp", func(s socket) {
			if n++; s.port < 0 || s.port > 65535 || !s.addr.IsValid() {
				t.Errorf("%+v", s)
			}
		})
		if n > len(b)/88 {
			t.Errorf("%d sockets of %d bytes, %v", n, len(b), err)
		}
	})
}

// Others have what is neither available nor a task's, beyond what is not for
// tasks anyway.
func TestMemoryOfOthers(t *testing.T) {
	const g = api.Bytes(1 << 30)
	for _, c := range []struct{ has, total, available, tasks, want api.Bytes }{
		{has: 15 * g, total: 16 * g, available: 15 * g, want: 0},
		{has: 15 * g, total: 16 * g, available: 5 * g, want: 10 * g},              // another program has 10
		{has: 15 * g, total: 16 * g, available: 5 * g, tasks: 10 * g, want: 0},    // tasks have
		{has: 8 * g, total: 16 * g, available: 5 * g, want: 3 * g},                // half is for tasks
		{has: 8 * g, total: 16 * g, available: 12 * g, want: 0},                   //
		{has: 32 * g, total: 16 * g, available: 12 * g, want: 4 * g},              // the operator says more than there is
		{has: 8 * g, total: 16 * g, available: 0, tasks: 0, want: 8 * g},          //
		{has: 8 * g, total: 16 * g, available: 16 * g, tasks: 4 * g, want: 0},     // counted twice
		{has: 15 * g, total: 16 * g, available: 4 * g, tasks: 6 * g, want: 5 * g}, //
	} {
		if got := beyond(c.has, c.total, c.available, c.tasks); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	var told []api.Bytes
	was := api.Bytes(0)
	for _, is := range []api.Bytes{9, 10, 12, 19, 20, 16, 15, 14, 11, 9, 4, 26, 0} {
		was = settle(was, is, 10)
		told = append(told, was)
	}
	if got, want := fmt.Sprint(told), fmt.Sprint([]api.Bytes{0, 10, 10, 10, 20, 20, 20, 10, 10, 10, 0, 20, 0}); got != want {
		t.Errorf("told is\n%s, not\n%s", got, want)
	}
	if total, available, err := meminfo("/proc"); err != nil || available <= 0 || available > total {
		t.Errorf("%d of %d, %v", available, total, err)
	}
}
