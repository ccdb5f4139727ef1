package cluster

import (
	"testing"

	"github.com/mesita/mesita/api/budget"
	"github.com/mesita/mesita/fsm"
)

// TestFloodersHaveNames: who floods is called what people call it.
func TestFloodersHaveNames(t *testing.T) {
	v := fsm.NewStore(nil).View()
	for who, want := range map[budget.Who]string{
		{Class: budget.Stranger, Name: "10.0.0.7"}: "10.0.0.7",
		{Class: budget.Stranger, Name: "uid 1000"}: "uid 1000",
		{Class: budget.Stranger}:                   "a crowd of strangers",
		{Class: budget.User, Name: "token gone"}:   "token gone",
	} {
		if got := flooderIn(v, who); got != want {
			t.Errorf("%+v: %q, want %q", who, got, want)
		}
	}
}
