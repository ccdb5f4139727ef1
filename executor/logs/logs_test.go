package logs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/executor/logs"
)

func create(t *testing.T, dir string, limit int64) *logs.Writer {
	t.Helper()
	w, err := logs.Create(dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func write(t *testing.T, w *logs.Writer, s logs.Stream, text string) {
	t.Helper()
	if err := w.Write(s, time.Unix(1000, 5), []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// read returns all that is there.
func read(t *testing.T, dir string, opts logs.Options) (string, error) {
	got, _, err := readAll(t, dir, opts)
	return got, err
}

// readAll also returns what was told to be missing.
func readAll(t *testing.T, dir string, opts logs.Options) (got string, gaps []logs.Entry, err error) {
	t.Helper()
	r, err := logs.Open(dir, opts)
	if err != nil {
		return "", nil, err
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var b strings.Builder
	for {
		e, err := r.Next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return b.String(), gaps, nil
		case err != nil:
			return b.String(), gaps, err
		case e.Missing != 0:
			gaps = append(gaps, e)
		case len(e.Data) == 0:
			t.Fatal("an entry of nothing")
		}
		b.Write(e.Data)
	}
}

func same(t *testing.T, dir string, opts logs.Options, want string) {
	t.Helper()
	got, err := read(t, dir, opts)
	if err != nil || got != want {
		t.Fatalf("%+v: got %q %v, want %q", opts, got, err, want)
	}
}

func TestStreamsAndTail(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "web.0", "1")
	same(t, dir, logs.Options{}, "") // not there yet
	w := create(t, dir, 1<<20)
	for i := range 5 {
		write(t, w, logs.Stdout, fmt.Sprintf("out %d\n", i))
		write(t, w, logs.Stderr, fmt.Sprintf("err %d\nmore %d\n", i, i))
	}
	write(t, w, logs.Stdout, "open")
	same(t, dir, logs.Options{Stdout: true}, "out 0\nout 1\nout 2\nout 3\nout 4\nopen")
	same(t, dir, logs.Options{Stdout: true, Tail: 2}, "out 4\nopen")
	same(t, dir, logs.Options{Stderr: true, Tail: 3}, "more 3\nerr 4\nmore 4\n")
	same(t, dir, logs.Options{Tail: 3}, "err 4\nmore 4\nopen")
	same(t, dir, logs.Options{Tail: -1}, "")
	same(t, dir, logs.Options{Stdout: true, Tail: 100}, "out 0\nout 1\nout 2\nout 3\nout 4\nopen")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(logs.Stdout, time.Now(), []byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("error %v", err)
	}
	same(t, dir, logs.Options{Follow: true, Tail: 1}, "open")
	r, err := logs.Open(dir, logs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if e, err := r.Next(t.Context()); err != nil || !e.Time.Equal(time.Unix(1000, 5)) || e.Stream != logs.Stdout {
		t.Fatalf("%+v %v", e, err)
	}
}

func TestRotationIsBounded(t *testing.T) {
	dir := t.TempDir()
	const limit = 64 << 10
	w := create(t, dir, limit)
	for i := range 5000 {
		write(t, w, logs.Stdout, fmt.Sprintf("line %04d of a log that continues for long\n", i))
		if i%500 == 0 && size(t, dir) > limit {
			t.Fatalf("%d bytes on disk, at most %d are allowed", size(t, dir), limit)
		}
	}
	got, err := read(t, dir, logs.Options{})
	lines := strings.Split(strings.TrimSpace(got), "\n")
	if err != nil || len(lines) < 500 || !strings.HasPrefix(lines[len(lines)-1], "line 4999") {
		t.Fatalf("%d lines, the last %q, %v", len(lines), lines[len(lines)-1], err)
	}
	for i, l := range lines { // no hole
		if want := fmt.Sprintf("line %04d", 5000-len(lines)+i); !strings.HasPrefix(l, want) {
			t.Fatalf("line %q, want %q", l, want)
		}
	}
	same(t, dir, logs.Options{Tail: 1}, "line 4999 of a log that continues for long\n")
	got, err = read(t, dir, logs.Options{Tail: 600}) // over a segment's border
	if n := strings.Count(got, "\n"); err != nil || n != 600 || !strings.HasPrefix(got, "line 4400") {
		t.Fatalf("%d lines, beginning %q, %v", n, got[:20], err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// The same attempt again, after a reboot.
	w = create(t, dir, limit)
	write(t, w, logs.Stdout, "again\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	same(t, dir, logs.Options{Follow: true, Tail: 1}, "again\n")
	if size(t, dir) > limit {
		t.Fatalf("%d bytes on disk", size(t, dir))
	}
}

func size(t *testing.T, dir string) (n int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		fi, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		n += fi.Size()
	}
	return n
}

func TestFollow(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "web.0", "1")
	r, err := logs.Open(dir, logs.Options{Follow: true}) // before it is there
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make(chan string)
	go func() {
		defer close(got)
		for {
			e, err := r.Next(t.Context())
			if err != nil {
				got <- err.Error()
				return
			}
			got <- string(e.Data)
		}
	}()
	w := create(t, dir, 64<<10)
	n := 0
	for i := range 2000 { // rotates as it is followed
		text := fmt.Sprintf("line %d and some more to fill the segments\n", i)
		write(t, w, logs.Stdout, text)
		if g := <-got; g != text {
			t.Fatalf("got %q, want %q", g, text)
		}
		n++
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if g := <-got; g != "EOF" {
		t.Fatalf("got %q, want the end", g)
	}
}

// TestFollowAsItIsMade: the folders and the first segment appear one after the
// other while a reader comes down to them.
func TestFollowAsItIsMade(t *testing.T) {
	root := t.TempDir()
	for i := range 300 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		dir := filepath.Join(root, fmt.Sprint(i), "1")
		r, err := logs.Open(dir, logs.Options{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		made := make(chan error)
		go func() { made <- logs.SealEmpty(dir) }()
		if e, err := r.Next(ctx); !errors.Is(err, io.EOF) {
			t.Fatalf("log %d: %+v, %v", i, e, err)
		}
		if err := errors.Join(<-made, r.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFollowEndsWithContext(t *testing.T) {
	dir := t.TempDir()
	create(t, dir, 64<<10)
	r, err := logs.Open(dir, logs.Options{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errors.New("enough"))
	defer cancel()
	if _, err := r.Next(ctx); err == nil || err.Error() != "enough" {
		t.Fatalf("error %v", err)
	}
}

func TestTornAndSealed(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, 64<<10)
	write(t, w, logs.Stdout, "whole\n")
	write(t, w, logs.Stdout, "torn\n")
	path := filepath.Join(dir, "00000001.log")
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, fi.Size()-3); err != nil {
		t.Fatal(err)
	}
	same(t, dir, logs.Options{}, "whole\n")
	for range 2 {
		if err := logs.Seal(dir); err != nil {
			t.Fatal(err)
		}
		same(t, dir, logs.Options{Follow: true}, "whole\n") // follow ends
	}
	if err := logs.Seal(filepath.Join(dir, "none")); err != nil {
		t.Fatal(err)
	}
}

func TestCorruptFileIsNamed(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, 64<<10)
	for i := range 600 {
		write(t, w, logs.Stdout, fmt.Sprintf("line %04d of a log that continues for long\n", i))
	}
	path := filepath.Join(dir, "00000001.log")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range 200 { // each byte of the first frames
		bad := append([]byte(nil), b...)
		bad[at] ^= 0xff
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		got, gaps, err := readAll(t, dir, logs.Options{})
		if err != nil || len(gaps) != 1 || !strings.Contains(gaps[0].Why, path) {
			t.Fatalf("byte %d: missing %+v, error %v", at, gaps, err)
		}
		if n := len("line 0599 of a log that continues for long\n"); len(got)+int(gaps[0].Missing) != 600*n || len(got)%n != 0 {
			t.Fatalf("byte %d: %d bytes there and %d told missing, want %d", at, len(got), gaps[0].Missing, 600*n)
		}
		if !strings.HasSuffix(got, "line 0599 of a log that continues for long\n") {
			t.Fatalf("byte %d: the next segment is not read", at)
		}
	}
}

func FuzzReader(f *testing.F) {
	dir := f.TempDir()
	w, err := logs.Create(dir, 64<<10)
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(w.Write(logs.Stdout, time.Now(), []byte("hello\n")), w.Close()); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "00000001.log"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	// A segment that begins with marks.
	for range 2 {
		if w, err = logs.Create(dir, 64<<10); err != nil {
			f.Fatal(err)
		}
		if err := errors.Join(w.Write(logs.Stderr, time.Now(), []byte("one more\n")), w.Close()); err != nil {
			f.Fatal(err)
		}
	}
	if b, err = os.ReadFile(filepath.Join(dir, "00000003.log")); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{1, 255, 255, 255})
	dir = f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, "00000001.log"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, _ := read(t, dir, logs.Options{Tail: 3})
		if len(got) > len(b) {
			t.Fatalf("%d bytes from %d", len(got), len(b))
		}
		if err := logs.Seal(dir); err != nil {
			t.Fatal(err)
		}
	})
}
