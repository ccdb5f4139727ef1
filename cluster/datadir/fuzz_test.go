package datadir

import (
	"os"
	"reflect"
	"testing"
)

// FuzzNodeFiles: whatever is in the files in which a node remembers itself, it
// is refused, or written again and read the same.
func FuzzNodeFiles(f *testing.F) {
	f.Add(true, []byte(`{"format":1,"nodeID":"n","gossipKey":"AAAA","starts":3,"raft":{},"seeds":["10.0.0.1:5050"]}`))
	f.Add(true, []byte(`{"format":2,"ages":[{}]}`))
	f.Add(true, []byte(`{"nodeID":"n","crc":"00000000"}`))
	f.Add(false, []byte(`{"cluster":{"id":"c"},"authority":{"caCert":"AAAA"}}`))
	f.Add(false, []byte(`null`))
	dir, err := os.MkdirTemp("/dev/shm", "fuzz") // in memory: on a disk a few runs in ten seconds would be all
	if err != nil {
		dir = f.TempDir()
	} else {
		f.Cleanup(func() { os.RemoveAll(dir) })
	}
	d := &Dir{Path: dir}
	f.Fuzz(func(t *testing.T, node bool, b []byte) {
		name := "new-cluster.json"
		load := func() (any, error) { return d.LoadPending() }
		if node {
			name, load = "node.json", func() (any, error) { return d.Load() }
		}
		if err := os.WriteFile(d.File(name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		first, err := load()
		if err != nil {
			return
		}
		if err := d.write(name, first); err != nil {
			t.Fatalf("%q was read, and cannot be written: %v", b, err)
		}
		second, err := load()
		if err != nil {
			t.Fatalf("%+v: %v", first, err)
		}
		if err := d.write(name, second); err != nil {
			t.Fatal(err)
		}
		if third, err := load(); err != nil || !reflect.DeepEqual(second, third) {
			t.Fatalf("%+v was read, and then %+v, %v", second, third, err)
		}
	})
}
