package logs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/executor/logs"
)

// teller writes chance into a log and checks what a reader makes of it.
type teller struct {
	t       *testing.T
	rand    *rand.Rand
	written [2][]byte
	lines   bool // with line ends, at least one in every 64 KiB

	told    logs.Position // up to where the reader has told
	got     int
	missing int64
	gaps    int
}

func (c *teller) write(w *logs.Writer, most int) {
	c.t.Helper()
	b := make([]byte, 1+c.rand.IntN(most))
	for i := range b {
		b[i] = byte(c.rand.Uint32())
		if c.lines && i%100 == 99 {
			b[i] = '\n'
		}
	}
	s := c.rand.IntN(2)
	c.written[s] = append(c.written[s], b...)
	if err := w.Write(logs.Stream(s+1), time.Unix(1000, 0), b); err != nil {
		c.t.Fatal(err)
	}
}

// take checks one entry: each byte is the one that was written there, and
// between two entries nothing is passed over.
func (c *teller) take(e logs.Entry) {
	c.t.Helper()
	s := int(e.Stream) - 1
	size := int64(len(e.Data)) + e.Missing
	start := e.Pos[s] - size
	switch {
	case e.Missing == logs.Unknown:
		c.t.Fatal("unknown bytes are missing")
	case start != c.told[s]:
		c.t.Fatalf("stream %d continues at %d after %d was told", s, start, c.told[s])
	case e.Missing == 0 && !bytes.Equal(c.written[s][start:e.Pos[s]], e.Data):
		c.t.Fatalf("other bytes at %d of stream %d", start, s)
	case e.Missing != 0 && c.lines && e.Pos[s] < int64(len(c.written[s])) && c.written[s][e.Pos[s]-1] != '\n':
		c.t.Fatalf("after a gap stream %d begins within a line, at %d", s, e.Pos[s])
	}
	c.told[s] = e.Pos[s]
	c.got += len(e.Data)
	if c.missing += e.Missing; e.Missing > 0 {
		c.gaps++
	}
}

// follow takes up to n entries that are there, all if it is below 0.
func (c *teller) follow(r *logs.Reader, n int) (over bool) {
	c.t.Helper()
	gone, cancel := context.WithCancel(c.t.Context())
	cancel()
	for ; n != 0; n-- {
		e, err := r.Next(gone)
		switch {
		case errors.Is(err, io.EOF):
			return true
		case errors.Is(err, context.Canceled):
			return false
		case err != nil:
			c.t.Fatal(err)
		}
		c.take(e)
	}
	return false
}

// TestEachByteIsThereOrToldMissing: whatever sizes a task writes, however slow
// its reader is and however often it begins again where it was, what it got and
// what it was told to be missing is what was written.
func TestEachByteIsThereOrToldMissing(t *testing.T) {
	gaps := 0
	for seed := range uint64(50) {
		dir := t.TempDir()
		c := &teller{t: t, rand: rand.New(rand.NewPCG(seed, 1)), lines: seed%2 == 0}
		w := create(t, dir, 64<<10)
		r, err := logs.Open(dir, logs.Options{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		most := []int{1, 10, 300, 5000, 200_000}[seed%5]
		for range min(400, 5_000_000/most) {
			c.write(w, most)
			switch c.rand.IntN(20) {
			case 0, 1, 2, 3:
				c.follow(r, c.rand.IntN(10))
			case 4:
				r.Close()
				if r, err = logs.Open(dir, logs.Options{Follow: true, After: c.told}); err != nil {
					t.Fatal(err)
				}
			case 5: // the same attempt again, after a reboot
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				w = create(t, dir, 64<<10)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if !c.follow(r, -1) {
			t.Fatal("the end is not seen")
		}
		r.Close()
		if n := len(c.written[0]) + len(c.written[1]); c.got+int(c.missing) != n {
			t.Fatalf("seed %d: %d bytes there, %d told missing, %d written", seed, c.got, c.missing, n)
		}
		gaps += c.gaps
	}
	if gaps < 10 {
		t.Errorf("%d gaps: nothing was tried", gaps)
	}
}

// TestOneStreamOfTwo: who reads one stream hears nothing of the other.
func TestOneStreamOfTwo(t *testing.T) {
	c := &teller{t: t, rand: rand.New(rand.NewPCG(7, 7)), lines: true}
	dir := t.TempDir()
	w := create(t, dir, 64<<10)
	for range 2000 {
		c.write(w, 300)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, gaps, err := readAll(t, dir, logs.Options{Stderr: true})
	if err != nil || len(gaps) != 1 || gaps[0].Stream != logs.Stderr || len(got)+int(gaps[0].Missing) != len(c.written[1]) || !bytes.HasSuffix(c.written[1], []byte(got)) {
		t.Fatalf("%d bytes of %d, missing %+v, %v", len(got), len(c.written[1]), gaps, err)
	}
	// The last lines are there: that others are not is of no interest.
	got, gaps, err = readAll(t, dir, logs.Options{Stderr: true, Tail: 5})
	if err != nil || len(gaps) != 0 || !bytes.HasSuffix(c.written[1], []byte(got)) {
		t.Fatalf("%q, missing %+v, %v", got, gaps, err)
	}
	got, gaps, err = readAll(t, dir, logs.Options{Stderr: true, Tail: 1 << 20})
	if err != nil || len(gaps) != 1 || len(got)+int(gaps[0].Missing) != len(c.written[1]) {
		t.Fatalf("%d bytes, missing %+v, %v", len(got), gaps, err)
	}
}

// TestLogsFromBeforeThereWereMarks: what an older keeper wrote is read as far as
// it is there, and that some of it is missing is said, once.
func TestLogsFromBeforeThereWereMarks(t *testing.T) {
	c := &teller{t: t, rand: rand.New(rand.NewPCG(3, 3)), lines: true}
	dir := t.TempDir()
	w := create(t, dir, 64<<10)
	for range 200 {
		c.write(w, 300)
	}
	stripMarks(t, dir)
	got, gaps, err := readAll(t, dir, logs.Options{Stdout: true})
	if err != nil || len(gaps) != 0 || got != string(c.written[0]) {
		t.Fatalf("%d bytes of %d, missing %+v, %v", len(got), len(c.written[0]), gaps, err)
	}
	for range 2000 {
		c.write(w, 300)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	stripMarks(t, dir)
	old, gaps, err := readAll(t, dir, logs.Options{Stdout: true})
	if err != nil || len(gaps) != 1 || gaps[0].Missing != logs.Unknown || !bytes.HasSuffix(c.written[0], []byte(old)) || len(old) < 20<<10 {
		t.Fatalf("%d bytes, missing %+v, %v", len(old), gaps, err)
	}
	// A new keeper continues in the same log.
	w = create(t, dir, 1<<20)
	if err := errors.Join(w.Write(logs.Stdout, time.Now(), []byte("more\n")), w.Close()); err != nil {
		t.Fatal(err)
	}
	got, gaps, err = readAll(t, dir, logs.Options{Stdout: true})
	if err != nil || len(gaps) != 1 || gaps[0].Missing != logs.Unknown || got != old+"more\n" {
		t.Fatalf("%d bytes, want %d and 5, missing %+v, %v", len(got), len(old), gaps, err)
	}
}

// stripMarks makes a log what it was before there were marks.
func stripMarks(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var out []byte
		for len(b) > 0 {
			n := 16 + (int(b[1]) | int(b[2])<<8 | int(b[3])<<16)
			if b[0] == 0 || n > 16 {
				out = append(out, b[:n]...)
			}
			b = b[n:]
		}
		if err := os.WriteFile(f, out, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSince: lines that began before are left out whole.
func TestSince(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, 1<<20)
	for i, text := range []string{"one\ntw", "o\nthree\n", "fo", "ur\nfive\n"} {
		if err := w.Write(logs.Stdout, time.Unix(int64(1000+i), 0), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for at, want := range map[int64]string{0: "one\ntwo\nthree\nfour\nfive\n", 1001: "three\nfour\nfive\n", 1002: "four\nfive\n", 1003: "five\n", 1004: ""} {
		got, gaps, err := readAll(t, dir, logs.Options{Since: time.Unix(at, 0)})
		if err != nil || got != want || len(gaps) != 0 {
			t.Errorf("since %d: %q, missing %+v, %v", at, got, gaps, err)
		}
	}
	same(t, dir, logs.Options{Since: time.Unix(1001, 0), Tail: 2}, "four\nfive\n")
	same(t, dir, logs.Options{Since: time.Unix(1001, 0), Tail: 9}, "three\nfour\nfive\n")
}

// TestFullDisk: what could not be written is told as missing, and nothing of it
// is made up in the log.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no file system of its own: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	w := create(t, filepath.Join(dir, "1"), 1<<20)
	var want int
	line := strings.Repeat("x", 999) + "\n"
	write := func() error {
		want += len(line)
		return w.Write(logs.Stdout, time.Now(), []byte(line))
	}
	for write() == nil {
	}
	for range 5 {
		if write() == nil {
			t.Fatal("there is room again")
		}
	}
	if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(write(), w.Close()); err != nil {
		t.Fatal(err)
	}
	got, gaps, err := readAll(t, filepath.Join(dir, "1"), logs.Options{})
	if err != nil || len(gaps) != 1 || gaps[0].Missing != 6000 || len(got)+6000 != want || strings.Count(got, line)*1000 != len(got) || !strings.Contains(gaps[0].Why, "full") {
		t.Fatalf("%d bytes of %d, missing %+v, %v", len(got), want, gaps, err)
	}
}

// TestTailIsWholeLines: the last lines are those of both streams that end last,
// each whole, also where the streams write into each other's lines.
func TestTailIsWholeLines(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 5))
		dir := t.TempDir()
		w := create(t, dir, 1<<20)
		type line struct {
			stream int
			text   string
		}
		var ended []line
		var open [2]string
		for range 3000 {
			s := r.IntN(2)
			text := strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(60)) + []string{"", "\n", "\n\n"}[r.IntN(3)]
			if text == "" {
				continue
			}
			write(t, w, logs.Stream(s+1), text)
			for text = open[s] + text; ; {
				one, rest, ok := strings.Cut(text, "\n")
				if !ok {
					open[s] = text
					break
				}
				ended, text = append(ended, line{s, one + "\n"}), rest
			}
		}
		if seed%2 == 0 {
			stripMarks(t, dir)
		}
		opens := 0
		for s, text := range open {
			if text != "" {
				ended = append(ended, line{s, text})
				opens++ // it is shown in any case
			}
		}
		for _, n := range []int{1, 2, 3, 10, 500, len(ended) - 1, len(ended), len(ended) + 1} {
			var want [2]string
			for _, l := range ended[max(0, len(ended)-max(n, opens)):] {
				want[l.stream] += l.text
			}
			var got [2]string
			rd, err := logs.Open(dir, logs.Options{Tail: n})
			if err != nil {
				t.Fatal(err)
			}
			for {
				e, err := rd.Next(t.Context())
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil || e.Missing != 0 {
					t.Fatalf("%+v, %v", e, err)
				}
				got[e.Stream-1] += string(e.Data)
			}
			rd.Close()
			if got != want {
				t.Fatalf("seed %d, the last %d lines: got %q, want %q", seed, n, got, want)
			}
		}
		for s := range open {
			same(t, dir, logs.Options{Tail: 2, Stdout: s == 0, Stderr: s == 1}, last(2, ended, func(l line) (string, bool) { return l.text, l.stream == s }))
		}
	}
}

// last are the last n of those that are wanted.
func last[T any](n int, all []T, text func(T) (string, bool)) (out string) {
	for i := len(all) - 1; i >= 0 && n > 0; i-- {
		if s, ok := text(all[i]); ok {
			out, n = s+out, n-1
		}
	}
	return out
}
