package sealed_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/mesita/mesita/executor/sealed"
)

// FuzzCheck: bytes of chance are refused or taken for an older program's. What
// has a right sum is what Add makes, to the byte.
func FuzzCheck(f *testing.F) {
	for _, object := range []string{`{}`, `{"a":1}`} {
		b, _ := sealed.Add([]byte(object), []byte("k"))
		f.Add(b, []byte("k"))
		f.Add(b, []byte("other"))
	}
	f.Add([]byte(`{"a":1,"crc":"00000000"}`), []byte("k"))
	f.Add([]byte(`x"crc":"00000000"}`), []byte{})
	f.Fuzz(func(t *testing.T, b, key []byte) {
		sum, is, err := sealed.Check(b, key)
		if !is || err != nil || !json.Valid(b) {
			return
		}
		head := bytes.TrimSuffix(b[:len(b)-len(`"crc":"00000000"}`)], []byte(","))
		again, want := sealed.Add(append(bytes.Clone(head), '}'), key)
		if !bytes.Equal(again, b) || sum != want {
			t.Fatalf("%q has the sum %08x, and is made as %q", b, sum, again)
		}
	})
}
