package fsm

import (
	"testing"

	"github.com/mesita/mesita/api"
)

// What apply makes of a partition does not depend on the zones that a machine knows:
// voters with others would not agree. Before level 4 it does as it did.
func TestApplyAsksNoMachineForZones(t *testing.T) {
	for level := range Newest + 1 {
		for zone, before := range map[string]bool{"Europe/Berlin": true, "Local": true, "Known/Elsewhere": false} {
			s := storeAt(t, level)
			p := &api.Partition{Path: "ml", Adjust: &api.Adjust{Max: api.Amounts{CPUs: 4000}, Hours: []api.Window{{From: "08:00", To: "18:00", Zone: zone, Guarantee: api.Amounts{CPUs: 1000}}}}}
			_, err := s.Do(t.Context(), &PartitionPut{Partition: p})
			if want := before || level >= 4; (err == nil) != want || err != nil && api.ErrorCode(err) != api.CodeInvalid {
				t.Errorf("level %d, %s: %v", level, zone, err)
			}
		}
	}
}
