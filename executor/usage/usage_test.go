package usage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/mesita/mesita/integration/draw"
)

const mib = 1 << 20

// put writes so much that no file system has it in less.
func put(t *testing.T, path string, size int) *os.File {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write([]byte(strings.Repeat("x", size))); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil { // some count blocks when they are written
		t.Fatal(err)
	}
	return f
}

func of(t *testing.T, dirs ...string) Size {
	t.Helper()
	size, err := Of(t.Context(), time.Time{}, dirs...)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// What is in folders counts once, however deep and by however many names, and nothing
// that only a symbolic link leads to, nor what is not there.
func TestWhatFoldersHave(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	put(t, filepath.Join(elsewhere, "big"), 8*mib)
	deep := filepath.Join(dir, "a/b/c")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(deep, "file"), 2*mib)
	for name, to := range map[string]string{"folder": elsewhere, "file": filepath.Join(elsewhere, "big"), "round": dir} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		if err := os.Link(filepath.Join(deep, "file"), filepath.Join(dir, fmt.Sprint("again", i))); err != nil {
			t.Fatal(err)
		}
	}
	for _, dirs := range [][]string{{dir}, {dir, filepath.Join(dir, "missing"), filepath.Join(dir, "round")}, {dir, deep}} {
		if s := of(t, dirs...); s.Bytes < 2*mib || s.Bytes > 3*mib || !s.Whole {
			t.Errorf("%v has %+v", dirs, s)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Of(ctx, time.Time{}, dir); err == nil {
		t.Error("it continues when nobody waits any more")
	}
}

// Who puts folders into each other without end is known as one of whom not all was seen.
func TestWhatIsTooDeep(t *testing.T) {
	for levels, whole := range map[int]bool{maxDepth: true, maxDepth + 2: false} {
		dir := t.TempDir()
		at, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		for range levels {
			if err := at.Mkdir("d", 0o755); err != nil {
				t.Fatal(err)
			}
			inner, err := at.OpenRoot("d")
			at.Close()
			if err != nil {
				t.Fatal(err)
			}
			at = inner
		}
		at.Close()
		if s := of(t, dir); s.Whole != whole {
			t.Errorf("%d levels: %+v", levels, s)
		}
	}
}

// A file that has no name any more counts for whoever has it open, once.
func TestUnlinkedFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	f := put(t, path, 2*mib)
	again, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	dev, err := Device(dir)
	if err != nil {
		t.Fatal(err)
	}
	look := func(dev uint64) int64 {
		t.Helper()
		u, err := Unlinked(t.Context(), "/proc", dev, map[string]int{"task": os.Getpid()})
		if err != nil {
			t.Fatal(err)
		}
		return u["task"]
	}
	before := look(dev)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := look(dev) - before; got < 2*mib || got > 3*mib {
		t.Errorf("%d bytes", got)
	}
	if got := look(unix.Mkdev(250, 250)); got != 0 {
		t.Errorf("%d bytes on a disk that is not there", got)
	}
	if f.Close(); look(dev) == before {
		t.Error("it is gone while somebody has it")
	}
}

// node is a disk with tasks on it, some of which write.
type node struct {
	s   Space
	has map[string]Size
}

func (n *node) write(id string, bytes int64) {
	bytes = min(bytes, n.s.Free)
	z := n.has[id]
	z.Bytes += bytes
	n.has[id], n.s.Free = z, n.s.Free-bytes
}

func (n *node) copied() map[string]Size {
	out := map[string]Size{}
	for id, z := range n.has {
		out[id] = z
	}
	return out
}

// Whatever tasks had before, it is the one that fills the disk that ends, and before
// others are without space; who writes little never does; nobody does while what is to
// stay free is.
func TestWhoFillsTheDiskEnds(t *testing.T) {
	draw.Check(t, func(t *rapid.T) {
		const reserve = 1 << 30
		upTo := func(what string, n int64) int64 { return rapid.Int64Range(0, n).Draw(t, what) }
		n := node{s: Space{Free: reserve * (3 + upTo("free", 20)), Reserve: reserve}, has: map[string]Size{}}
		for i := range 1 + upTo("quiet", 6) {
			n.has[fmt.Sprint("quiet", i)] = Size{Bytes: upTo("has", 500<<30), Whole: true}
		}
		n.has["hog"] = Size{Bytes: upTo("hog has", 1<<30), Whole: rapid.Bool().Draw(t, "whole")}
		speed := reserve/50 + upTo("speed", reserve/5) // between two looks
		var g Grown
		now := time.Unix(1e9, 0)
		for n.s.Free > 0 {
			now = now.Add(time.Duration(1+upTo("pause", 10_000)) * time.Millisecond)
			n.write("hog", speed)
			for id := range n.has {
				if id != "hog" {
					n.write(id, speed/1000)
				}
			}
			if !g.Wants(n.s, now) {
				continue
			}
			id, by := g.Take(n.s, now, n.copied())
			if id == "" {
				continue
			}
			if id != "hog" || !n.s.Gone() || by < n.s.matters() {
				t.Fatalf("%s ends for %d with %d free: %+v", id, by, n.s.Free, n.has)
			}
			return
		}
		t.Fatalf("the disk is full: it grew by %d between two looks", speed)
	})
}

// Where nobody knew what tasks had before there was too little, whoever grows ends. If
// none does, and little is left, it is the one that wrote most of what is gone since there
// was space, or that has more than what is to stay free if there never was: once, and
// nobody if it was none of them.
func TestWhoFilledItBeforeAnybodyLooked(t *testing.T) {
	const reserve = 1 << 30
	now := time.Unix(1e9, 0)
	for name, tt := range map[string]struct {
		had        int64 // was free when there was space; 0: never
		free, then int64 // when it is measured first, and again
		grown      int64 // young by then
		fresh      int64 // of what old has
		want       string
	}{
		"grows":                     {10 * reserve, 300 * mib, 100 * mib, 200 * mib, 0, "young"},
		"grows, much is left":       {10 * reserve, 900 * mib, 700 * mib, 200 * mib, 0, "young"},
		"it wrote most":             {10 * reserve, 300 * mib, 300 * mib, 0, 8000 * mib, "old"},
		"it wrote some":             {10 * reserve, 300 * mib, 300 * mib, 0, 2000 * mib, ""},
		"it wrote most, much left":  {10 * reserve, 900 * mib, 900 * mib, 0, 8000 * mib, ""},
		"there never was":           {0, 300 * mib, 300 * mib, 0, 8000 * mib, "old"},
		"there never was, has some": {0, 300 * mib, 300 * mib, 0, 1000 * mib, ""},
	} {
		var g Grown
		if tt.had > 0 && g.Wants(Space{tt.had, reserve}, now) {
			t.Fatalf("%s: it is measured for nothing", name)
		}
		has := map[string]Size{"old": {9000 * mib, tt.fresh, true}, "young": {500 * mib, 500 * mib, true}}
		if s := (Space{tt.free, reserve}); !g.Wants(s, now) {
			t.Fatalf("%s: nobody is measured", name)
		} else if id, _ := g.Take(s, now, has); id != "" {
			t.Errorf("%s: %s ends, and nobody knows that it grew", name, id)
		}
		s, id := Space{tt.then, reserve}, ""
		if g.Wants(s, now) {
			id, _ = g.Take(s, now, map[string]Size{"old": has["old"], "young": {500*mib + tt.grown, 500*mib + tt.grown, true}})
		}
		if id != tt.want {
			t.Errorf("%s: %q ends, and not %q", name, id, tt.want)
		}
		if tt.want == "young" {
			continue
		}
		g.Again()
		if g.Wants(s, now) {
			if id, _ := g.Take(s, now, has); id != "" {
				t.Errorf("%s: %s ends, too", name, id)
			}
		}
		if g.Wants(s, now) {
			t.Errorf("%s: nothing changes, and it is measured again and again", name)
		}
	}
}

// Nobody is measured while there is space, nor again and again while nothing changes.
func TestNothingIsMeasuredForNothing(t *testing.T) {
	const reserve = 1 << 30
	var g Grown
	now := time.Unix(1e9, 0)
	for i, tt := range []struct {
		free  int64
		after time.Duration
		want  bool
	}{
		{100 << 30, 0, false}, {reserve * 2, 0, false}, {reserve*2 - 1, 0, true}, {reserve * 3 / 2, time.Minute, false},
		{reserve * 3 / 2, 10 * time.Minute, true}, {reserve - 1, 0, true}, {reserve - 2, time.Hour, false},
		{100 << 30, 0, false}, {reserve * 3 / 2, 0, true},
	} {
		now = now.Add(tt.after)
		s := Space{tt.free, reserve}
		if got := g.Wants(s, now); got != tt.want {
			t.Fatalf("%d: with %d free: %v", i, tt.free, got)
		} else if got {
			g.Take(s, now, map[string]Size{"a": {1, 1, true}})
		}
	}
}
