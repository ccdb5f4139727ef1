package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// A task counts as moved once it has run on its new node for a moment. One that ends there
// before ends the whole, so that the others of its job live on.
func TestAMovedTaskThatEndsEndsARebalance(t *testing.T) {
	one := 1
	for name, x := range map[string]struct {
		alter func(*api.Task)
		code  int
		out   string
		said  []string
	}{
		"stays up": {nil, 0, "web.2  fir → oak", []string{"2 tasks moved"}},
		"ends": {func(k *api.Task) {
			if k.Attempt == 2 {
				k.Attempt, k.Node, k.Earlier = 3, "fir", []api.Attempt{{Attempt: 1}, {Attempt: 2, Node: "oak", ExitCode: &one, Reason: api.ReasonExited}}
			}
		}, 1, "", []string{"web.1 does not stay up", "ended on oak", "0 tasks moved, 1 was told to move and does not run as planned yet, 1 not begun"}},
		"ends for good": {func(k *api.Task) {
			if k.Attempt == 2 {
				k.State, k.ExitCode, k.Reason = api.TaskFailed, &one, api.ReasonExited
			}
		}, 1, "", []string{"web.1 does not stay up", "0 tasks moved"}},
		"starts elsewhere": {func(k *api.Task) {
			if k.Attempt == 2 {
				k.Node = "elm"
			}
		}, 5, "", []string{"web.1 started on elm, not on oak as planned", "0 tasks moved"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := withFake(t)
			f.alter, f.plan = x.alter, twoMoves()
			r := run(t.Context(), "rebalance", "--up-for", "100ms")
			if r.code != x.code || !strings.Contains(r.out, x.out) || x.out == "" && r.out != "" {
				t.Errorf("%+v", r)
			}
			for _, text := range x.said {
				if !strings.Contains(r.err, text) {
					t.Errorf("%q is not in %q", text, r.err)
				}
			}
		})
	}
}

func twoMoves() *api.RebalancePlan {
	return &api.RebalancePlan{Spread: 0.8, Moves: []api.Move{
		{Task: "web.1", Job: "web", Attempt: 1, From: "fir", To: "oak"}, {Task: "web.2", Job: "web", Attempt: 1, From: "fir", To: "oak"}}}
}

// What is not as planned any more stays, with its reason, and is told nothing.
func TestWhatChangedSinceThePlanStays(t *testing.T) {
	changed := "it is not as it was when the plan was made"
	for name, x := range map[string]struct {
		change func(*fake)
		alter  func(*api.Task)
		why    string
	}{
		"hold":       {func(f *fake) { f.jobs["web"].Hold = true }, nil, "its job is on hold"},
		"stopped":    {func(f *fake) { f.alter = func(*api.Task) { f.jobs["web"].Stop = true } }, nil, "its job is stopped"},
		"version":    {func(f *fake) { f.alter = func(k *api.Task) { k.Version = 1 } }, nil, othersDoNot},
		"one moves":  {func(f *fake) { f.jobs["web"].Spec.Count = new(4) }, nil, othersDoNot},
		"once":       {func(f *fake) { f.jobs["web"].Spec.AtMostOnce = true }, nil, "it runs at most once"},
		"long batch": {func(f *fake) { f.jobs["web"].Spec.Kind = api.KindBatch }, nil, "it would begin 9m0s of work anew"},
		"lost node":  {func(f *fake) { f.plan.Moves[0].To, f.plan.Moves[1].To = "elm", "elm" }, nil, "elm does not answer"},
		"no node":    {func(f *fake) { f.plan.Moves[0].To, f.plan.Moves[1].To = "ash", "ash" }, nil, "ash was removed"},
		"frozen":     {nil, func(k *api.Task) { k.Frozen = true }, "it is frozen"},
		"attempt":    {nil, func(k *api.Task) { k.Attempt = 2 }, changed},
		"node":       {nil, func(k *api.Task) { k.Node = "oak" }, changed},
		"moves":      {nil, func(k *api.Task) { k.Desired = api.DesiredMove }, changed},
		"unhealthy":  {nil, func(k *api.Task) { k.Healthy = new(false) }, changed},
		"ended":      {nil, func(k *api.Task) { k.State = api.TaskFinished }, "it has ended"},
	} {
		t.Run(name, func(t *testing.T) {
			f := withFake(t)
			f.alter, f.plan = x.alter, twoMoves()
			if x.change != nil {
				x.change(f)
			}
			r := run(t.Context(), "rebalance")
			if r.code != 0 || len(f.calls) > 0 || !strings.Contains(r.err, "web.1 stays on fir: "+x.why+"\n") || !strings.HasSuffix(r.err, "\n0 tasks moved, 2 stayed\n") {
				t.Errorf("%+v, %v", r, f.calls)
			}
		})
	}
}

// What is told to move is the attempt that the plan is of, and no newer one; where the
// leader knows no such question, the task.
func TestAMoveIsOfTheAttemptThatWasPlanned(t *testing.T) {
	for _, older := range []bool{false, true} {
		f := withFake(t)
		f.plan, f.older = twoMoves(), older
		if r := run(t.Context(), "rebalance", "--max-moves", "2"); r.code != 0 || !strings.Contains(r.err, "2 tasks moved") {
			t.Errorf("older %v: %+v", older, r)
		}
		for _, m := range f.plan.Moves {
			if got := f.looks[fmt.Sprint("attempt ", m.Attempt, " of ", m.Task)]; f.looks["move "+m.Task] != 1 || (got == 1) == older {
				t.Errorf("older %v: %v", older, f.looks)
			}
		}
	}
}

// Who stops it is told what was begun, and gets the exit code of an interrupt.
func TestARebalanceIsInterrupted(t *testing.T) {
	f := withFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	f.plan, f.alter = twoMoves(), func(k *api.Task) {
		if k.Attempt == 2 {
			if looks++; looks > 1 { // the first is the answer to the move
				cancel()
			}
		}
	}
	r := run(ctx, "rebalance")
	if r.code != interrupted || !strings.Contains(r.err, "web.1 was told to move, and starts elsewhere by itself\n0 tasks moved, 1 was told to move") || !strings.Contains(r.err, "1 not begun") {
		t.Errorf("%+v", r)
	}
	if want := []string{"POST /v1/tasks/web.1/stop"}; !slices.Equal(f.calls, want) {
		t.Errorf("%v", f.calls)
	}
}

// Of what was not looked at nobody knows that it has another node.
func TestADrainAsksIfNotAllIsLookedAt(t *testing.T) {
	for nowhere, want := range []string{"3001 tasks on oak may have no other node to run on", "1 task of 3001 on oak would have no other node to run on; others may have none"} {
		f := withFake(t)
		f.empties = &api.DrainPlan{Node: "oak", Partial: true, Nowhere: nowhere, More: 3000, Moves: []api.Move{{Task: "web.0", To: "fir"}}}
		r := run(t.Context(), "node", "drain", "oak", "--deadline", time.Minute.String(), "--detach")
		if r.code != 5 || len(f.calls) > 0 || !strings.Contains(r.err, want) {
			t.Errorf("%+v, %v", r, f.calls)
		}
	}
}
