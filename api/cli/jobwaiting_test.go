package cli

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// A job that has ended is not on hold any more, as nothing of it would start.
func TestOnlyWhatMayStartIsOnHold(t *testing.T) {
	for state := api.JobPending; state <= api.JobFailed; state++ {
		if held := strings.HasSuffix(jobState(&api.Job{State: state, Hold: true}), ", on hold"); held == state.Ended() {
			t.Errorf("a job that is %s is said to be on hold: %v", state, held)
		}
	}
}
