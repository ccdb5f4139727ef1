package sealed_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/mesita/mesita/executor/sealed"
)

// An object reads as before for who does not know of the sum, and no flipped bit
// is taken for another or for one of an older program.
func TestFlippedBits(t *testing.T) {
	for _, object := range []string{`{}`, `{"a":1}`, "{\n  \"a\": 1\n}", `{"a":"b","c":{"d":[1,2,3]}}`} {
		key := []byte("web.0")
		b, _ := sealed.Add([]byte(object), key)
		var before, after map[string]any
		if err := errors.Join(json.Unmarshal([]byte(object), &before), json.Unmarshal(b, &after)); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if delete(after, "crc"); len(before) != len(after) {
			t.Fatalf("%s became %s", object, b)
		}
		if _, is, err := sealed.Check(b, key); !is || err != nil {
			t.Fatalf("%s: sealed %v, %v", b, is, err)
		}
		if _, _, err := sealed.Check(b, []byte("web.1")); !errors.Is(err, sealed.ErrDamaged) {
			t.Errorf("%s is taken for another's: %v", b, err)
		}
		if _, is, err := sealed.Check([]byte(object), key); is || err != nil {
			t.Errorf("an older program's %s: sealed %v, %v", object, is, err)
		}
		for bit := range 8 * len(b) {
			bad := append([]byte(nil), b...)
			bad[bit/8] ^= 1 << (bit % 8)
			if _, _, err := sealed.Check(bad, key); err == nil && json.Valid(bad) {
				t.Errorf("bit %d of %s makes %s, which is not refused", bit, b, bad)
			}
		}
	}
}
