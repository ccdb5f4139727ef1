package fsm

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// FuzzDecode: whatever is in the log is decoded or refused, and what is decoded
// has a value again when it is written anew.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/commands/*.bin")
	if err != nil || len(files) == 0 {
		f.Fatal("no golden commands", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		cmds, err := Decode(b)
		if err != nil || len(cmds) == 0 {
			return
		}
		again, err := Encode(cmds...)
		if err != nil {
			t.Fatalf("%d commands were decoded, and cannot be encoded: %v", len(cmds), err)
		}
		if back, err := Decode(again); err != nil || len(back) != len(cmds) {
			t.Fatalf("%d commands came back as %d: %v", len(cmds), len(back), err)
		}
	})
}

// snapshotSeed is a small state of every noun, not compressed.
func snapshotSeed(f *testing.F) []byte {
	f.Helper()
	s := NewStore(nil)
	at := Meta{At: time.Unix(1e9, 0).UTC()}
	if _, err := s.Propose(context.Background(), testInit(), &NodeHello{Meta: at, ID: nodeID(0), Hello: testHello(1000)},
		&JobCreate{Meta: at, Spec: testSpec(api.KindBatch, "", 3), Request: "r"}, &TaskCreate{Meta: at, Job: "1", Count: 2}); err != nil {
		f.Fatal(err)
	}
	var packed bytes.Buffer
	if err := s.Snapshot().Write(&packed); err != nil {
		f.Fatal(err)
	}
	z, err := gzip.NewReader(&packed)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		f.Fatal(err)
	}
	return raw
}

// FuzzRestore: whatever a snapshot holds is taken or refused, and what is taken
// can be looked at and written again. The records are fuzzed below the
// compression, whose checksum would refuse all but one in four billion.
func FuzzRestore(f *testing.F) {
	raw := snapshotSeed(f)
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Fuzz(func(t *testing.T, raw []byte) {
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, gzip.NoCompression)
		if err != nil {
			t.Fatal(err)
		}
		_, err = z.Write(raw)
		if err != nil || z.Close() != nil {
			t.Fatal(err)
		}
		s := NewStore(nil)
		if s.Restore(&packed) != nil {
			return
		}
		if err := s.Snapshot().Write(io.Discard); err != nil {
			t.Fatalf("it was restored, and cannot be written: %v", err)
		}
	})
}
