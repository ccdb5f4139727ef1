package v1_test

import (
	"bytes"
	"encoding/base64"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api/mesos/wire"
)

// FuzzMessages: whatever comes in place of a message is read or refused, and
// what is read is the same through the other form.
func FuzzMessages(f *testing.F) {
	names := slices.Sorted(maps.Keys(roots))
	b, err := os.ReadFile(goldenFile)
	if err != nil {
		f.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	for i := 0; i+2 < len(lines); i += 15 { // each fifth, or all it did would be to read them
		root, _, _ := strings.Cut(lines[i], " ")
		kind := byte(slices.Index(names, root))
		f.Add(kind, true, []byte(lines[i+1]))
		proto, err := base64.StdEncoding.DecodeString(lines[i+2])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(kind, false, proto)
	}
	f.Fuzz(func(t *testing.T, kind byte, json bool, data []byte) {
		made := roots[names[int(kind)%len(names)]]
		form, other := wire.Protobuf, wire.JSON
		if json {
			form, other = wire.JSON, wire.Protobuf
		}
		m, again := made(), made()
		if wire.Unmarshal(form, data, m) != nil {
			return
		}
		b, err := wire.Marshal(other, m)
		if err != nil {
			t.Fatal(err)
		}
		if err := wire.Unmarshal(other, b, again); err != nil {
			t.Fatalf("%v %q was written, and is not read: %v", other, b, err)
		}
		want, err := wire.Marshal(wire.JSON, m)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := wire.Marshal(wire.JSON, again); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s became %s, %v", want, got, err)
		}
	})
}
