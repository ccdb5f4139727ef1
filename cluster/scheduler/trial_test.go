package scheduler

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// What is tried for an advice ends after a time, however long each trial takes; the
// advice that was found by then is given.
func TestTrialsEndAfterATime(t *testing.T) {
	s := cluster(t, 1)
	submit(t, s, &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 1500}}}})
	schedule(t, s, t0)
	j := submit(t, s, &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 2000}}}})
	for _, takes := range []time.Duration{0, trialTime / 4, time.Hour} {
		clock, passes := t0, 0
		p := Planner{Now: func() time.Time { return clock }, Begin: func(v *fsm.View) Round {
			passes, clock = passes+1, clock.Add(takes)
			return begin(v)
		}}
		why, err := p.Explain(s.View(), j.ID)
		if err != nil || len(why.Remedies) == 0 {
			t.Errorf("%s each: %+v, %v", takes, why, err)
		}
		most := 1 + maxTrials // the first finds that it waits
		if takes > 0 {
			most = 2 + int(trialTime/takes)
		}
		if passes > most {
			t.Errorf("%s each: %d passes", takes, passes)
		}
	}
}
