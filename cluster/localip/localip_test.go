package localip

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// elsewhere runs f in a network of its own with those interfaces.
func elsewhere(t *testing.T, f func(ip func(args string)), setup ...string) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end, and the process would be in that network for good.
			defer runtime.UnlockOSThread()
			elsewhere(t, f, setup...)
			done <- nil
			return
		}
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		var failed error
		ip := func(args string) {
			out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
			if err != nil && failed == nil {
				failed = errors.New("ip " + args + ": " + string(out))
			}
		}
		ip("link set lo up")
		for _, s := range setup {
			ip(s)
		}
		if failed == nil {
			f(ip)
		}
		done <- failed
	}()
	if err := <-done; err != nil {
		if errors.Is(err, unix.EPERM) {
			t.Skip("no network of its own: ", err)
		}
		t.Fatal(err)
	}
}

var (
	bridge = []string{"link add docker0 type bridge", "addr add 172.17.0.1/16 dev docker0", "link set docker0 up"}
	cards  = []string{"link add eth0 type veth peer name far0", "link set eth0 up", "link set far0 up", "addr add 10.0.0.11/24 dev eth0",
		"link add eth1 type veth peer name far1", "link set eth1 up", "link set far1 up", "addr add 192.168.9.4/24 dev eth1"}
)

func with(parts ...[]string) (out []string) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// The address is the one that the kernel would take, and never that of a bridge of
// containers as long as there is another, whatever comes first.
func TestTheKernelChooses(t *testing.T) {
	for name, c := range map[string]struct {
		setup   []string
		towards []string
		want    string
		others  string
	}{
		"the default route, not the first interface": {with(bridge, cards, []string{"route add default via 192.168.9.1"}), nil,
			"192.168.9.4", "10.0.0.11 172.17.0.1"},
		"without a route no bridge": {with(bridge, cards), nil, "10.0.0.11", "192.168.9.4 172.17.0.1"},
		"the way to the node that is joined": {with(bridge, cards, []string{"route add default via 192.168.9.1"}),
			[]string{"10.0.0.12:5050"}, "10.0.0.11", "192.168.9.4 172.17.0.1"},
		"what leads to itself says nothing": {with(bridge, cards, []string{"route add default via 10.0.0.1"}),
			[]string{"172.17.0.1:5050", "127.0.0.1:5050"}, "10.0.0.11", "192.168.9.4 172.17.0.1"},
		"a bridge that is the way out": {with(bridge, cards, []string{"route add default via 172.17.0.2"}), nil,
			"172.17.0.1", "10.0.0.11 192.168.9.4"},
		"nothing but a bridge": {bridge, nil, "172.17.0.1", ""},
		"nothing at all":       {nil, nil, "127.0.0.1", ""},
	} {
		elsewhere(t, func(func(string)) {
			got := Choose(t.Context(), true, c.towards)
			var others []string
			for _, a := range got.Others {
				others = append(others, a.IP.String())
			}
			if got.IP.String() != c.want || strings.Join(others, " ") != c.others {
				t.Errorf("%s: %s and %v, want %s and %s", name, got.IP, others, c.want, c.others)
			}
		}, c.setup...)
	}
}

// A change of an address is noticed, and who waits is told to end.
func TestChangesAreNoticed(t *testing.T) {
	elsewhere(t, func(ip func(string)) {
		changes, err := Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer changes.Close()
		was := Choose(t.Context(), true, nil).IP
		ip("addr del 10.0.0.11/24 dev eth0")
		if err := changes.Next(t.Context()); err != nil || Has(was) || !Has(Choose(t.Context(), true, nil).IP) {
			t.Errorf("%v: %s is there still: %v", err, was, Has(was))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for err == nil { // what is left of the change comes first
			err = changes.Next(ctx)
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("at the end: %v", err)
		}
	}, cards...)
}
