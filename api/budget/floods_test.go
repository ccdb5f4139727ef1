package budget

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestFloods: who is refused again and again floods, and is named until two minutes
// after the last time; many who do so together have no name; and how many are
// counted is bounded.
func TestFloods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(Floods)
		is := func(when, name string, ok bool) {
			t.Helper()
			if who, _, got := f.Now(); got != ok || ok && who.Name != name {
				t.Errorf("%s: %v, %t", when, who, got)
			}
		}
		one, two := Who{Stranger, "1.2.3.4"}, Who{User, "token ci"}
		for range 10 { // one refused as often as may be
			for range floodOfOne - 1 {
				f.Refused(one, "streams")
			}
			time.Sleep(time.Minute)
		}
		is("now and then", "", false)
		for range floodOfOne {
			f.Refused(one, "streams")
			f.Refused(two, "connections")
		}
		is("two", one.Name, true)
		time.Sleep(floodEnds - time.Second)
		for range floodOfOne {
			f.Refused(one, "streams")
		}
		time.Sleep(floodEnds - time.Second)
		is("it continues", one.Name, true)
		time.Sleep(time.Second)
		is("afterwards", "", false)
		for i := range 3 * maxCounted {
			f.Refused(Who{Stranger, fmt.Sprint(i)}, "connections")
		}
		is("many", "", true)
		if len(f.by) > maxCounted {
			t.Errorf("%d are counted", len(f.by))
		}
	})
}
