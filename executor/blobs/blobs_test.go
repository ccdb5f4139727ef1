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

func put(c *blobs.Cache, d string, b []byte) error {
	return c.Put(d, func(w io.Writer) error {
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
	if err := c.Put(d, func(io.Writer) error { return broken }); !errors.Is(err, broken) {
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

// What a job of the cluster may yet run goes after all that none needs: this copy may be
// the only one. The limit is kept all the same.
func TestWhatJobsNeedIsEvictedLast(t *testing.T) {
	var ds []string
	needed := map[string]bool{}
	c, err := blobs.Open(t.TempDir(), 250, func(d string) bool { return needed[d] })
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"+", "++", "+-+", "+--+", "---++"} {
		b := bytes.Repeat([]byte{byte(i)}, 100)
		ds = append(ds, digest(b))
		needed[ds[i]] = i >= 3
		needed[ds[0]] = i < 4
		if err := put(c, ds[i], b); err != nil {
			t.Fatal(err)
		}
		kept := ""
		for _, d := range ds {
			kept += map[bool]string{true: "+", false: "-"}[c.Has(d)]
		}
		if kept != want {
			t.Errorf("after %d: %s, want %s", i+1, kept, want)
		}
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
	if err := put(c, digest(big), big); err != nil || !c.Has(d) {
		t.Fatal("a program that runs was evicted: its pin was lost", err)
	}
	c.Unpin(d)
	big[0] = 2
	if err := put(c, digest(big), big); err != nil || c.Has(d) {
		t.Fatal("it has one pin too many", err)
	}
}
