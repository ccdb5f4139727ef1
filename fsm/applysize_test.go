package fsm

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// What one ApplyAll changes is bounded, whatever it is: parts, tasks that begin, tasks
// that end, and those that are forgotten. What is refused is said by field and remedy,
// and what is one part only is never refused.
func TestWhatIsAppliedTogetherIsBounded(t *testing.T) {
	w := newWorld(t, Newest, 1)
	creates := func(services, tasks int) (c ApplyAll) {
		for i := range services {
			c.Creates = append(c.Creates, &JobCreate{Spec: testSpec(api.KindService, fmt.Sprint("new", i), tasks)})
		}
		return c
	}
	var stops, drops, updates ApplyAll
	for name, n := range map[string]int{"huge": maxApplyRows, "small": 1} {
		w.do(&JobCreate{Meta: w.at(), Spec: testSpec(api.KindService, name, n)}, &TaskCreate{Meta: w.at(), Job: name, Count: n})
		stops.Stops = append(stops.Stops, &JobStop{ID: name})
		s := testSpec(api.KindService, name, n)
		drops.Creates = append(drops.Creates, &JobCreate{Spec: s})
		changed := *s
		changed.CPUs++
		updates.Updates = append(updates.Updates, &JobUpdate{ID: name, Spec: &changed})
	}
	few := creates(1000, 9)
	few.Stops = []*JobStop{{ID: "small"}}
	whole := ApplyAll{Stops: []*JobStop{{ID: "huge"}}}
	for name, c := range map[string]struct {
		ApplyAll
		field, says string
	}{
		"5,000 services of ten tasks":    {creates(5000, 10), "", ""},
		"5,000 services of many tasks":   {creates(5000, 1000), "", ""}, // of which some are made at once
		"very many services":             {creates(maxApplyRows-maxApplyTasks+1, 1), "jobs", "several parts"},
		"a few that stop, and others":    {few, "", ""},
		"stops of very many tasks":       {stops, "stop", "mesita stop"},
		"updates of very many that wait": {updates, "jobs", "several parts"},
		"one that stops, however large":  {whole, "", ""},
	} {
		err := c.CheckSize(w.View())
		if c.field == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var e *api.Error
		if !errors.As(err, &e) || e.Code != api.CodeTooLarge || e.Field != c.field || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.do(&ApplyAll{Meta: w.at(), Stops: stops.Stops})
	if err := drops.CheckSize(w.View()); api.ErrorCode(err) != api.CodeTooLarge {
		t.Errorf("of jobs that ended, very many tasks are forgotten at once: %v", err)
	}
	one := ApplyAll{Creates: []*JobCreate{{Spec: testSpec(api.KindBatch, "array", 5_000_000)}}}
	w.do(&one)
	if err := (&ApplyAll{Stops: []*JobStop{{ID: "array"}}, Creates: creates(1, 1).Creates}).CheckSize(w.View()); err != nil {
		t.Errorf("tasks that were never made need no room: %v", err)
	}
}
