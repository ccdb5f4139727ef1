package keeper

import (
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/integration/draw"
)

// A flipped bit never makes an attempt's end another one: what is damaged is
// as if it had not been written, so the attempt is lost, or asked about again.
func TestFlippedBitsOfTheLedger(t *testing.T) {
	dir := t.TempDir()
	l, _, err := openLedger(dir)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := map[string]Status{}
	for i, id := range []string{"a.0/1", "a.1/1", "b.0/2", "b.1/7"} {
		st := Status{ID: id, State: Running, PID: 100 + i, Started: at}
		if err := l.write(l.start(st)); err != nil {
			t.Fatal(err)
		}
		st.State, st.Ended, st.Code = Ended, at.Add(time.Second), i
		if err := l.write(l.end(st)); err != nil {
			t.Fatal(err)
		}
		want[id] = st
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ledger")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	read := func(b []byte) map[string]Status {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, all, err := openLedger(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		got := map[string]Status{}
		for _, st := range all {
			got[st.ID] = st
		}
		return got
	}
	if got := read(whole); !maps.Equal(got, want) {
		t.Fatalf("undamaged it holds %+v, want %+v", got, want)
	}
	flips, err := strconv.Atoi(os.Getenv("MESITA_FLIPS"))
	if err != nil {
		flips = 500
	}
	seed := draw.Seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	for range flips {
		b := append([]byte(nil), whole...)
		bit := r.IntN(8 * len(b))
		b[bit/8] ^= 1 << (bit % 8)
		for id, st := range read(b) {
			if w, ok := want[id]; !ok || st != w && st.State != Lost {
				t.Fatalf("seed %d, bit %d flipped: %q is %+v, want %+v", seed, bit, id, st, w)
			}
		}
	}
}

// FuzzLedger: whatever is in the file, what is read of it is written again and
// read the same, and no line without a right sum of its own counts if it has
// one.
func FuzzLedger(f *testing.F) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, v := range []line{{Start: &Status{ID: "a.0/1", State: Running, PID: 7, Started: at}}, {End: &Status{ID: "a.0/1", State: Ended, Ended: at, Code: 3}}, {Forget: "a.0/1"}} {
		b, err := v.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b[:len(b)-2:len(b)-2], "}\n{}\n"...))
	}
	f.Add([]byte(`{"start":{"id":"b.1/2","state":"running"}}`))
	dir := fuzzFolder(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, "ledger"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		read := func() map[string]Status {
			l, all, err := openLedger(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer l.close()
			got := map[string]Status{}
			for _, st := range all {
				got[st.ID] = st
			}
			return got
		}
		first := read()
		if again := read(); !maps.Equal(first, again) {
			t.Fatalf("%+v was read, and then %+v", first, again)
		}
	})
}

// fuzzFolder is a folder in memory, where there is one: each run writes, and on a
// disk a few in ten seconds would be all.
func fuzzFolder(f *testing.F) string {
	dir, err := os.MkdirTemp("/dev/shm", "fuzz")
	if err != nil {
		return f.TempDir()
	}
	f.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A line that the disk has no room for takes no other one with it.
func TestALedgerOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	l, _, err := openLedger(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if err := l.write(l.start(Status{ID: "a.0/1", State: Running})); err != nil {
		t.Fatal(err)
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	for room := range int64(60) {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(l.size + room), Max: was.Max}); err != nil {
			t.Fatal(err)
		}
		err := l.write(l.start(Status{ID: "b.0/1", State: Starting}))
		if rerr := unix.Setrlimit(unix.RLIMIT_FSIZE, &was); rerr != nil {
			t.Fatal(rerr)
		}
		if err == nil {
			t.Fatal("a line was written where it has no room")
		}
		if err := l.write(l.start(Status{ID: "c.0/" + strconv.Itoa(int(room)), State: Running})); err != nil {
			t.Fatal(err)
		}
	}
	all, damaged, err := readLedger(dir)
	if err != nil || damaged || len(all) != 61 {
		t.Errorf("it has %d attempts, damaged %v: %v", len(all), damaged, err)
	}
}
