package mesos

import (
	"slices"
	"strings"
	"testing"

	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// What is not an amount is given once of what is not reserved, and may be given beside it of
// what is, in whatever order.
func TestSetsAreGivenOnceInAnyOrder(t *testing.T) {
	zone := func(word string) *v1.Resource {
		return &v1.Resource{Name: "zone", Type: v1.ValueTypeSet, Set: &v1.ValueSet{Item: []string{word}}}
	}
	reserved := zone("b")
	reserved.Role, reserved.Reservation = new("web"), &v1.ResourceReservationInfo{}
	for _, plain := range [][]*v1.Resource{{zone("a")}, {zone("a"), zone("c")}} {
		all := append(slices.Clone(plain), reserved)
		for range all {
			all = append(all[1:], all[0])
			q, of, err := toRequest(all, "web")
			switch {
			case len(plain) > 1:
				if err == nil || !strings.Contains(err.Error(), "'zone' is given twice") {
					t.Errorf("%d that are not reserved: %v", len(plain), err)
				}
			case err != nil || len(of.reserved) != 1 || !slices.Equal(q.Custom["zone"].Set, []string{"a", "b"}):
				t.Errorf("%+v, reserved %+v: %v", q, of.reserved, err)
			}
		}
	}
}
