package boltfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mesita/mesita/executor/boltfile"
)

// walk is all that a look at a file finds, with nothing checked but where it
// lies.
func walk(path string) (all map[string]string, err error) {
	all = map[string]string{}
	return all, boltfile.Look(path, time.Minute, func(f *boltfile.File) error {
		buckets, err := f.Buckets()
		for name, b := range buckets {
			var last []byte
			err = errors.Join(err, b.ForEach(func(k, v []byte) error {
				if last != nil && bytes.Compare(last, k) >= 0 {
					return errors.New("the keys are out of order")
				}
				last = k
				all[name+"/"+string(k)] = string(v)
				return nil
			}))
		}
		return err
	})
}

func made(t testing.TB, path string) map[string]string {
	t.Helper()
	want := map[string]string{}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for name, n := range map[string]int{"none": 0, "inline": 3, "leaf": 60, "tree": 1000} {
			b, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			for i := range n {
				k, v := fmt.Sprintf("%06d", i), bytes.Repeat([]byte{byte(i)}, i%80)
				if i == 500 {
					v = bytes.Repeat([]byte("long"), 5000) // more than a page
				}
				want[name+"/"+k] = string(v)
				if err := b.Put([]byte(k), v); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return want
}

// A look finds what bbolt wrote, whatever shape it lies in.
func TestLook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file.db")
	if all, err := walk(path); err != nil || len(all) != 0 {
		t.Fatal(all, err)
	}
	want := made(t, path)
	all, err := walk(path)
	if err != nil || len(all) != len(want) {
		t.Fatalf("%d values of %d: %v", len(all), len(want), err)
	}
	for k, v := range want {
		if all[k] != v {
			t.Fatalf("%s is %q", k, all[k])
		}
	}
}

// FuzzLook: whatever bytes lie over a part of the file, or where it ends, a look
// at it does not crash, nor follow anything out of the file.
func FuzzLook(f *testing.F) {
	path := filepath.Join(f.TempDir(), "file.db")
	made(f, path)
	file, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	size := uint32(os.Getpagesize())
	f.Add(uint32(16), []byte{1}, uint32(0))
	f.Add(size+10, []byte{}, size+100)
	for page := range uint32(len(file)) / size {
		f.Add(page*size+8, []byte{1}, uint32(0))                                               // a branch
		f.Add(page*size+10, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint32(0))             // count, overflow
		f.Add(page*size+20, []byte{0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f}, uint32(0)) // where the first key is
	}
	f.Fuzz(func(t *testing.T, at uint32, over []byte, end uint32) {
		b := bytes.Clone(file)
		copy(b[int(at)%len(b):], over)
		if end != 0 {
			b = b[:int(end)%len(b)]
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = walk(path) // damage is an error
	})
}
