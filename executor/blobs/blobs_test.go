package blobs_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/blobs"
	"github.com/mesita/mesita/integration/draw"
)

func digest(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

func fetch(c *blobs.Cache, d string, b []byte) error {
	return c.Fetch(d, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

func put(c *blobs.Cache, d string, b []byte) error {
	return c.Put(d, -1, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

func open(t *testing.T, dir string, limit int64) *blobs.Cache {
	t.Helper()
	c, err := blobs.Open(dir, limit, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPutAndOpen(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, 1<<20)
	b := []byte("#!/bin/sh\nexit 7\n")
	d := digest(b)
	if c.Has(d) || c.Pin(d) {
		t.Fatal("it is there before it was put")
	}
	if err := put(c, d, b); err != nil {
		t.Fatal(err)
	}
	c = open(t, dir, 1<<20) // over a restart
	r, size, err := c.OpenBlob(d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, b) || size != int64(len(b)) {
		t.Fatalf("%q %d %v", got, size, err)
	}
	if fi, err := os.Stat(c.Path(d)); err != nil || fi.Mode().Perm() != 0o555 {
		t.Fatalf("%v %v", fi.Mode(), err)
	}
	if _, _, err := c.OpenBlob(digest(nil)); api.ErrorCode(err) != api.CodeNotFound {
		t.Fatalf("error %v", err)
	}
}

func TestWrongContentIsRefused(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, 1<<20)
	d := digest([]byte("right"))
	if err := put(c, d, []byte("wrong")); api.ErrorCode(err) != api.CodeInvalid {
		t.Fatalf("error %v", err)
	}
	broken := errors.New("connection reset")
	if err := c.Put(d, 1, func(io.Writer) error { return broken }); !errors.Is(err, broken) {
		t.Fatalf("error %v", err)
	}
	if err := put(c, "sha256:../../etc/passwd", nil); api.ErrorCode(err) != api.CodeInvalid {
		t.Fatalf("error %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); c.Has(d) || len(left) != 0 {
		t.Fatalf("left over: %v", left)
	}
}

func TestEviction(t *testing.T) {
	c := open(t, t.TempDir(), 250)
	var ds []string
	for i := range 3 {
		b := bytes.Repeat([]byte{byte(i)}, 100)
		ds = append(ds, digest(b))
		if err := put(c, ds[i], b); err != nil {
			t.Fatal(err)
		}
		if i == 0 && !c.Pin(ds[0]) {
			t.Fatal("it cannot be pinned")
		}
	}
	if !c.Has(ds[0]) || c.Has(ds[1]) || !c.Has(ds[2]) {
		t.Fatalf("kept: %v %v %v, want the pinned and the newest", c.Has(ds[0]), c.Has(ds[1]), c.Has(ds[2]))
	}
	c.Unpin(ds[0])
	if err := os.Remove(c.Path(ds[0])); err != nil {
		t.Fatal(err)
	}
	if c.Pin(ds[0]) || c.Has(ds[0]) {
		t.Fatal("a file that is gone is still known")
	}
}

// What others count on to be here, as a job may yet run it, never goes, nor does what
// nobody can tell of; an upload for which there is no room beside is refused, and a copy
// for a task that is to run here is not.
func TestWhatJobsNeedStays(t *testing.T) {
	needed, unknown := map[string]bool{}, false
	c, err := blobs.Open(t.TempDir(), 250, func([]string) (map[string]bool, error) {
		if unknown {
			return nil, errors.New("no leader")
		}
		return needed, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var ds []string
	content := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 100) }
	for i := range 8 {
		ds = append(ds, digest(content(i)))
	}
	needed[ds[0]], needed[ds[3]] = true, true
	for i, x := range []struct {
		here    string
		by      func(c *blobs.Cache, d string, b []byte) error
		unknown bool
		refused bool
	}{
		{here: "+"}, {here: "++"}, {here: "+-+"}, {here: "+--+"}, // the longest unused that may go
		{here: "+--+-", refused: true},
		{here: "+--+-+", by: fetch},
		{here: "+--+-+-", unknown: true, refused: true},
		{here: "+--+-+-+", by: fetch, unknown: true},
	} {
		store := put
		if x.by != nil {
			store = x.by
		}
		unknown = x.unknown
		if err := store(c, ds[i], content(i)); (api.ErrorCode(err) == api.CodeUnavailable) != x.refused || err != nil && !x.refused {
			t.Errorf("%d: %v", i, err)
		}
		here := ""
		for _, d := range ds[:i+1] {
			here += map[bool]string{true: "+", false: "-"}[c.Has(d)]
		}
		if here != x.here {
			t.Errorf("after %d: %s, want %s", i, here, x.here)
		}
	}
	unknown, needed = false, nil
	if err := put(c, ds[1], content(1)); err != nil || c.Has(ds[0]) || c.Has(ds[3]) || c.Has(ds[5]) == c.Has(ds[7]) {
		t.Errorf("once nothing is needed: %v", err)
	}
}

// What cannot have room by the size that it is said to have is refused before it is read.
func TestWhatHasNoRoomIsNotRead(t *testing.T) {
	c := open(t, t.TempDir(), 250)
	b := bytes.Repeat([]byte{1}, 100)
	d := digest(b)
	if err := put(c, d, b); err != nil || !c.Pin(d) {
		t.Fatal(err)
	}
	for size, want := range map[int64]bool{151: false, 150: true, -1: true} {
		read := false
		err := c.Put(digest([]byte("next")), size, func(io.Writer) error {
			read = true
			return io.ErrUnexpectedEOF
		})
		if read != want || (api.ErrorCode(err) == api.CodeUnavailable) == want {
			t.Errorf("of %d bytes: read %v, %v", size, read, err)
		}
	}
}

// Two that come at once do not both count on what one of them removes.
func TestRoomIsGivenOnce(t *testing.T) {
	content := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 100) }
	var c *blobs.Cache
	meanwhile := func() {}
	c, err := blobs.Open(t.TempDir(), 250, func([]string) (map[string]bool, error) {
		f := meanwhile
		meanwhile = func() {}
		f()
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	store := func(i int) {
		if err := put(c, digest(content(i)), content(i)); err != nil {
			t.Error(err)
		}
	}
	store(0)
	store(1)
	meanwhile = func() { store(2) }
	store(3)
	here := ""
	for i := range 4 {
		here += map[bool]string{true: "+", false: "-"}[c.Has(digest(content(i)))]
	}
	if here != "--++" {
		t.Errorf("%s is here, of 100 bytes each, and 250 are allowed", here)
	}
}

// A flipped bit in a program is found before it is used or sent, by name; the
// program is gone then, and can be put again. Tasks that run it keep their pins.
func TestFlippedBits(t *testing.T) {
	flips, err := strconv.Atoi(os.Getenv("MESITA_FLIPS"))
	if err != nil {
		flips = 100
	}
	c := open(t, t.TempDir(), 1<<20)
	b := bytes.Repeat([]byte("#!/bin/sh\nexit 7\n"), 500)
	d := digest(b)
	if err := put(c, d, b); err != nil || c.Check(d) != nil || !c.Pin(d) {
		t.Fatal(err)
	}
	random := draw.Rand(t)
	for i := range flips {
		bad := bytes.Clone(b)
		bit := random.IntN(8 * len(b))
		bad[bit/8] ^= 1 << (bit % 8)
		if err := errors.Join(os.Remove(c.Path(d)), os.WriteFile(c.Path(d), bad, 0o555)); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			var damaged *blobs.DamagedError
			if err := c.Check(d); !errors.As(err, &damaged) || damaged.File != c.Path(d) {
				t.Fatalf("bit %d: %v", bit, err)
			}
		} else if _, _, err := c.OpenBlob(d); api.ErrorCode(err) != api.CodeNotFound || !strings.Contains(err.Error(), c.Path(d)) {
			t.Fatalf("bit %d: %v", bit, err)
		}
		if c.Has(d) || c.Pin(d) || api.ErrorCode(c.Check(d)) != api.CodeNotFound {
			t.Fatal("it is still there")
		}
		if err := put(c, d, b); err != nil || c.Check(d) != nil {
			t.Fatal(err, c.Check(d))
		}
	}
	if err := put(c, digest(nil), nil); err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte{1}, 1<<20)
	if err := fetch(c, digest(big), big); err != nil || !c.Has(d) {
		t.Fatal("a program that runs was evicted: its pin was lost", err)
	}
	c.Unpin(d)
	big[0] = 2
	if err := put(c, digest(big), big); err != nil || c.Has(d) {
		t.Fatal("it has one pin too many", err)
	}
}
