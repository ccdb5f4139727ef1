package exchange

import (
	"errors"
	"testing"

	"github.com/mesita/mesita/api"
)

// FuzzCursor: whatever comes in place of a cursor is a place in a list, which is
// written as what reads the same, or is refused by its field.
func FuzzCursor(f *testing.F) {
	for _, m := range []mark{{Key: "web.0"}, {Sort: "-cpus", Value: "1.5", Key: "a"}, {}} {
		f.Add(m.text(), m.Sort)
	}
	f.Add("bnVsbA", "")
	f.Add("e30", "name")
	f.Add("!", "")
	f.Fuzz(func(t *testing.T, s, sort string) {
		m, err := readMark(s, sort)
		var e *api.Error
		switch {
		case err == nil:
			if again, err := readMark(m.text(), sort); err != nil || *again != *m {
				t.Errorf("%q is %+v, then %+v, %v", s, m, again, err)
			}
		case !errors.As(err, &e) || e.Code != api.CodeInvalid || e.Field != "cursor":
			t.Errorf("%q: %#v", s, err)
		}
	})
}
