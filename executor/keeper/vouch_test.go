package keeper_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/vouch"
)

// While no daemon is there the keeper answers for what runs and for the ends
// that nobody has taken note of; once it is dead it answers no more.
func TestTheKeeperAnswersForItsTasks(t *testing.T) {
	r := newRig(t)
	key, err := vouch.DeriveKey([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	port, asker := probes(t, key)
	r.cfg.Vouch = &keeper.Vouch{Node: "node-a", Boot: "this-boot", Addr: port, Key: key}
	ask := func(wait time.Duration) (vouch.Answer, error) {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		return asker.Ask(ctx, port.String(), vouch.Probe{Node: "node-a", Attempts: []string{"a.0/1", "a.1/1", "a.2/1"}})
	}
	told := func(what string, running, ended uint32, fates ...vouch.Fate) {
		t.Helper()
		r.until(what, func() bool {
			a, err := ask(2 * time.Second)
			return err == nil && a.Boot == "this-boot" && a.Running == running && a.Ended == ended && slices.Equal(a.Fates, fates)
		})
	}
	c := r.client()
	gate := filepath.Join(t.TempDir(), "gate")
	c.start("a.0/1", "/bin/sh", "-c", "while [ ! -e "+gate+" ]; do sleep 0.01; done")
	c.start("a.1/1", "/bin/true")
	c.exit("a.1/1")
	told("an answer beside the daemon", 1, 1, vouch.Runs, vouch.Ended, vouch.Unknown)
	c.leave()
	told("an answer without the daemon", 1, 1, vouch.Runs, vouch.Ended, vouch.Unknown)
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	told("the end that no daemon has seen", 0, 2, vouch.Ended, vouch.Ended, vouch.Unknown)
	alone := time.Now()
	r.until("the time after which a keeper without work ends", func() bool { return time.Since(alone) > 1500*time.Millisecond })
	told("the ends, still", 0, 2, vouch.Ended, vouch.Ended, vouch.Unknown)
	c = r.client()
	if err := c.Forget(t.Context(), "a.1/1"); err != nil {
		t.Fatal(err)
	}
	told("what was taken note of is forgotten", 0, 1, vouch.Ended, vouch.Unknown, vouch.Unknown)
	b, err := os.ReadFile(filepath.Join(r.dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	c.leave()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.until("silence", func() bool { _, err := ask(300 * time.Millisecond); return err != nil })
}

// What the keeper said that it does not have, it does not start any more: a
// daemon that hung meanwhile, and wakes, has not heard yet that the cluster gave
// it up. Other attempts of the same task start.
func TestWhatTheKeeperDeniedIsNotStarted(t *testing.T) {
	r := newRig(t)
	key, err := vouch.DeriveKey([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	port, asker := probes(t, key)
	r.cfg.Vouch = &keeper.Vouch{Node: "node-a", Boot: "this-boot", Addr: port, Key: key}
	c := r.client()
	c.start("a.0/1", "/bin/sleep", "60")
	r.until("an answer", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		a, err := asker.Ask(ctx, port.String(), vouch.Probe{Node: "node-a", Attempts: []string{"a.0/1", "a.1/1"}})
		return err == nil && slices.Equal(a.Fates, []vouch.Fate{vouch.Runs, vouch.Unknown})
	})
	if _, err := c.Start(t.Context(), r.request("a.1/1", "/bin/true")); !errors.Is(err, keeper.ErrLost) || !strings.Contains(err.Error(), "may have started it elsewhere") {
		t.Errorf("what was denied is started: %v", err)
	}
	for _, id := range []string{"a.0/1", "a.1/2"} { // the first runs already
		if _, err := c.Start(t.Context(), r.request(id, "/bin/true")); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// probes is a free port for the keeper's node, and who asks there.
func probes(t *testing.T, key []byte) (netip.AddrPort, *vouch.Asker) {
	spare, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	port := spare.LocalAddr().(*net.UDPAddr).AddrPort()
	spare.Close()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	asker, err := vouch.NewAsker(key, func(b []byte, addr string) error {
		_, err := conn.WriteToUDPAddrPort(b, netip.MustParseAddrPort(addr))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		b := make([]byte, 2048)
		for n, _, err := conn.ReadFromUDP(b); err == nil; n, _, err = conn.ReadFromUDP(b) {
			asker.Handle(b[:n])
		}
	})
	t.Cleanup(func() { conn.Close(); done.Wait() })
	return port, asker
}
