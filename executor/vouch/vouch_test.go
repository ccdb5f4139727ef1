package vouch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func testKey(t testing.TB, secret string) []byte {
	k, err := DeriveKey([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// udp is a socket on a free port of a loopback address, with an asker.
func udp(t *testing.T, ip string, key []byte) (*net.UDPConn, *Asker) {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(ip)})
	if err != nil {
		t.Skip(err)
	}
	a, err := NewAsker(key, func(b []byte, addr string) error {
		_, err := c.WriteToUDPAddrPort(b, netip.MustParseAddrPort(addr))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		b := make([]byte, 4096)
		for {
			n, _, err := c.ReadFromUDP(b)
			if err != nil {
				return
			}
			a.Handle(b[:n])
		}
	})
	t.Cleanup(func() { c.Close(); done.Wait() })
	return c, a
}

// respond runs a responder for a port until the test ends.
func respond(t *testing.T, at netip.AddrPort, node string, key []byte, tell func([]uint64) Answer) {
	if os.Getuid() != 0 {
		t.Skip("a raw socket needs root")
	}
	r, err := Listen(at, node, key, func(names []uint64) (Answer, bool) { return tell(names), true })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
}

// freePort is a UDP port that nobody holds.
func freePort(t *testing.T, ip string) netip.AddrPort {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(ip)})
	if err != nil {
		t.Skip(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestAKeeperAnswersBesideAndWithoutADaemon(t *testing.T) {
	key := testKey(t, "secret")
	attempts := []string{"1.0/1", "1.1/1", "1.2/1", "web.0/7"}
	tell := func(names []uint64) Answer {
		a := Answer{Boot: "b7a1-boot", Session: 42, Running: 1, Ended: 2, Fates: make([]Fate, len(names))}
		for i, n := range names {
			switch n {
			case Name("1.1/1"):
				a.Fates[i] = Runs
			case Name("1.2/1"), Name("web.0/7"):
				a.Fates[i] = Ended
			}
		}
		return a
	}
	for _, c := range []struct{ name, ip, listen string }{
		{"one address", "127.0.0.1", "127.0.0.1"}, {"every address", "127.0.0.2", "0.0.0.0"}, {"IPv6", "::1", "::1"}, {"both families", "::1", "::"},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := freePort(t, c.ip)
			respond(t, netip.AddrPortFrom(netip.MustParseAddr(c.listen), port.Port()), "node-a", key, tell)
			_, asker := udp(t, c.ip, key)
			ask := func() {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				got, err := asker.Ask(ctx, port.String(), Probe{Node: "node-a", Attempts: attempts})
				if err != nil {
					t.Fatal(err)
				}
				if got.Boot != "b7a1-boot" || got.Session != 42 || got.Running != 1 || got.Ended != 2 || !slices.Equal(got.Fates, []Fate{Unknown, Runs, Ended, Ended}) {
					t.Fatalf("the answer is %+v", got)
				}
			}
			ask()
			// A daemon can bind the port while the keeper listens, and gets all of it.
			d, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(c.listen), Port: int(port.Port())})
			if err != nil {
				t.Fatalf("the keeper keeps the port from the daemon: %v", err)
			}
			defer d.Close()
			ask()
		})
	}
}

func TestOnlyTheNodeThatIsMeantAnswersAndOnlyUnderTheKey(t *testing.T) {
	port := freePort(t, "127.0.0.1")
	var asked atomic.Int32
	key := testKey(t, "secret")
	respond(t, port, "node-a", key, func(n []uint64) Answer { asked.Add(1); return Answer{Fates: make([]Fate, len(n))} })
	_, stranger := udp(t, "127.0.0.1", testKey(t, "another secret"))
	sock, asker := udp(t, "127.0.0.1", key)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // noise: the size and the magic of a probe, forged
		b := append([]byte(probeMagic), bytes.Repeat([]byte{7}, probeSize-magicSize)...)
		_, _ = sock.WriteToUDPAddrPort(b, port)
	}
	for _, q := range []struct {
		a    *Asker
		node string
	}{{stranger, "node-a"}, {asker, "node-b"}} {
		if _, err := q.a.Ask(ctx, port.String(), Probe{Node: q.node}); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if _, err := asker.Ask(t.Context(), port.String(), Probe{Node: "node-a"}); err != nil { // it came last, and is answered
		t.Fatal(err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("%d probes reached the keeper, want 1", n)
	}
}

// What was recorded answers nothing, and no flipped bit is taken.
func TestAnAnswerIsWorthOneProbe(t *testing.T) {
	aead, err := newAEAD(testKey(t, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	probe, n, err := sealProbe(aead, Probe{Node: "a", Attempts: []string{"x/1"}})
	if err != nil {
		t.Fatal(err)
	}
	old := sealAnswer(aead, Answer{Boot: "b", Running: 1, Fates: []Fate{Runs}}, n)
	asker, err := NewAsker(testKey(t, "secret"), func([]byte, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	asker.send = func(b []byte, _ string) error {
		asker.Handle(old)
		forged := slices.Clone(old)
		copy(forged[magicSize+nonceSize:], b[magicSize:magicSize+nonceSize]) // as if it were to this probe
		asker.Handle(forged)
		for i := range b {
			asker.Handle(b[:i])
		}
		return errors.New("sent")
	}
	if a, err := asker.Ask(t.Context(), "", Probe{Node: "a", Attempts: []string{"x/1"}}); err == nil {
		t.Errorf("a recorded answer was taken: %+v", a)
	}
	for i := range 8 * len(probe) {
		b := slices.Clone(probe)
		b[i/8] ^= 1 << (i % 8)
		if _, _, err := openProbe(aead, "a", b); err == nil {
			t.Fatalf("a probe with bit %d flipped was taken", i)
		}
	}
	for i := range 8 * len(old) {
		b := slices.Clone(old)
		b[i/8] ^= 1 << (i % 8)
		if _, err := openAnswer(aead, 1, b); err == nil {
			t.Fatalf("an answer with bit %d flipped was taken", i)
		}
	}
	if len(old) > len(probe) {
		t.Errorf("an answer has %d bytes and a probe %d: it would make a flood larger", len(old), len(probe))
	}
}

func TestAllNamesFit(t *testing.T) {
	aead, err := newAEAD(testKey(t, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	p := Probe{Node: "a"}
	for i := range MaxNamed {
		p.Attempts = append(p.Attempts, string(rune('a'+i)))
	}
	b, n, err := sealProbe(aead, p)
	if err != nil {
		t.Fatal(err)
	}
	names, _, err := openProbe(aead, "a", b)
	if err != nil || len(names) != MaxNamed || names[MaxNamed-1] != Name(p.Attempts[MaxNamed-1]) {
		t.Fatalf("%d names came over: %v", len(names), err)
	}
	want := Answer{Fates: make([]Fate, MaxNamed)}
	for i := range want.Fates {
		want.Fates[i] = Fate(i % 3)
	}
	got, err := openAnswer(aead, MaxNamed, sealAnswer(aead, want, n))
	if err != nil || !slices.Equal(got.Fates, want.Fates) {
		t.Fatalf("%v came over: %v", got.Fates, err)
	}
	p.Attempts = append(p.Attempts, "one more")
	if _, _, err := sealProbe(aead, p); err == nil {
		t.Error("more names than fit were sealed")
	}
}

func FuzzPackets(f *testing.F) {
	aead, err := newAEAD(testKey(f, "secret"))
	if err != nil {
		f.Fatal(err)
	}
	p, n, _ := sealProbe(aead, Probe{Node: "a"})
	f.Add(p)
	f.Add(sealAnswer(aead, Answer{}, n))
	f.Add([]byte(Prefix))
	f.Fuzz(func(t *testing.T, b []byte) {
		names, _, err := openProbe(aead, "a", b)
		if err == nil && len(names) > MaxNamed {
			t.Fatal("too many names")
		}
		_, _ = openAnswer(aead, MaxNamed, b) // neither may panic
		if _, ok := probeOf(b); ok && len(b) != answerSize {
			t.Fatal("an answer of another size")
		}
	})
}

// FuzzBodies: whatever is in a packet under the right key, as of another
// version, is read or refused.
func FuzzBodies(f *testing.F) {
	aead, err := newAEAD(testKey(f, "secret"))
	if err != nil {
		f.Fatal(err)
	}
	node := sha256.Sum256([]byte("a"))
	f.Add(append(append([]byte{version}, node[:]...), 0, 2, 1, 1, 1, 1, 1, 1, 1, 1), uint8(2))
	f.Add(append(append([]byte{version}, node[:]...), 0xff, 0xff), uint8(128))
	f.Add([]byte{version + 1}, uint8(0))
	f.Fuzz(func(t *testing.T, body []byte, named uint8) {
		probe := make([]byte, probeBody)
		copy(probe, body)
		b, n := seal(aead, probeMagic, nil, probe)
		names, got, err := openProbe(aead, "a", b)
		if err == nil && (len(names) > MaxNamed || got != n) {
			t.Fatalf("%d names, nonce %x of %x", len(names), got, n)
		}
		answer := make([]byte, answerBody)
		copy(answer, body)
		b, _ = seal(aead, answerMagic, n[:], answer)
		a, err := openAnswer(aead, min(int(named), MaxNamed), b)
		if err == nil && (len(a.Fates) != min(int(named), MaxNamed) || len(a.Boot) > bootSize) {
			t.Fatalf("%+v", a)
		}
	})
}
