package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/chaos/record"
	"github.com/mesita/mesita/integration/lab"
)

// check looks at everything that must hold now that nothing is wrong: what was
// acknowledged, what tasks wrote, what runs, what is left, and the state of all
// voters.
func (r *run) check() {
	began := time.Now()
	n := r.nodes[0]
	r.checkLinear(n)
	r.steady(n)
	r.checkBatches(n)
	r.checkServices(n)
	r.stopServices(n)
	tasks := r.tasks(n)
	r.checkRecord(tasks)
	r.sameIndex()
	for _, n := range r.nodes {
		n.Terminate()
	}
	r.checkReplicas()
	r.checkLeft()
	r.stage.Say("check", "took %.1f s", time.Since(began).Seconds())
}

// steady gives services whose number is not known one again.
func (r *run) steady(n *lab.Node) {
	for id, count := range r.ledger.services {
		var j api.Job
		err := n.Call(http.MethodGet, "/v1/jobs/"+id, nil, &j)
		if api.ErrorCode(err) == api.CodeNotFound && count < 0 {
			delete(r.ledger.services, id) // it may have been refused when it was made
			continue
		}
		if err != nil {
			r.stage.Errorf("service %s, acknowledged, is not there: %v", id, err)
			delete(r.ledger.services, id)
			continue
		}
		if count < 0 {
			r.ledger.services[id] = 2
			n.Must(http.MethodPost, "/v1/jobs/"+id+"/scale", map[string]int{"count": 2}, nil)
		} else if wanted(&j) != count {
			r.stage.Errorf("service %s was scaled to %d, acknowledged, and is to have %d", id, count, wanted(&j))
		}
	}
}

func (r *run) jobs(n *lab.Node, which string) map[string]*api.Job {
	var l struct{ Items []*api.Job }
	n.Must(http.MethodGet, "/v1/jobs"+which, nil, &l)
	out := map[string]*api.Job{}
	for _, j := range l.Items {
		out[j.ID] = j
	}
	return out
}

func (r *run) tasks(n *lab.Node) map[string]*api.Task {
	var l struct{ Items []*api.Task }
	n.Must(http.MethodGet, "/v1/tasks?all=1", nil, &l)
	out := map[string]*api.Task{}
	for _, t := range l.Items {
		out[t.ID] = t
	}
	return out
}

// checkBatches waits until all have ended: each acknowledged one is there, and
// each task of it in one final state with the code that it ended with.
func (r *run) checkBatches(n *lab.Node) {
	last := ""
	if !lab.Until(endWithin, func() bool {
		last = ""
		for _, j := range r.jobs(n, "") {
			if j.Spec.Kind == api.KindBatch {
				last = fmt.Sprintf("%s is %s: %+v", j.ID, j.State, j.Counts)
			}
		}
		return last == ""
	}) {
		r.stage.Errorf("after %v: %s", endWithin, last)
	}
	jobs, tasks := r.jobs(n, "?all=1"), r.tasks(n)
	for id, p := range r.ledger.batches {
		j := jobs[id]
		if j == nil {
			if p.acked {
				r.stage.Errorf("batch %s was acknowledged and is not there", id)
			}
			continue
		}
		r.checkBatch(j, p, tasks)
	}
}

func (r *run) checkBatch(j *api.Job, p *promise, tasks map[string]*api.Task) {
	failed := 0
	for i, code := range p.codes {
		t := tasks[api.TaskID(j.ID, i)]
		switch {
		case t == nil:
			if !p.stopped || r.o.from == "" { // an older version forgets tasks that never began
				r.stage.Errorf("task %d of %s is not there", i, j.ID)
			}
		case !t.State.Final():
			r.stage.Errorf("task %s has not ended: %s %s", t.ID, t.State, t.Reason)
		case t.ExitCode != nil && *t.ExitCode == code && (t.State == api.TaskFinished) == (code == 0):
			if code != 0 {
				failed++
			}
		case p.stopped && t.State != api.TaskFinished:
		default:
			r.stage.Errorf("task %s is %s (%s, %s), its exit code is %s, want %d", t.ID, t.State, t.Reason, t.Message, number(t.ExitCode), code)
		}
	}
	if want := failed == 0; !p.stopped && (j.State == api.JobFinished) != want {
		r.stage.Errorf("batch %s is %s, and %d of its tasks failed", j.ID, j.State, failed)
	}
}

func number(n *int) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprint(*n)
}

// checkServices waits until exactly the wanted processes run.
func (r *run) checkServices(n *lab.Node) {
	for id, count := range r.ledger.services {
		run, alive := 0, 0
		if !lab.Until(wellWithin, func() bool {
			run, alive = len(n.Running(id)), r.processes(id)
			return run == count && alive == count
		}) {
			r.stage.Errorf("service %s is to have %d tasks: the cluster says that %d run, and there are %d processes", id, count, run, alive)
		}
	}
}

// processes counts the shells that run the script for tasks of a job.
func (r *run) processes(job string) (n int) {
	for _, pid := range lab.PidsOf(r.record.InCommandLine()) {
		if lab.EnvOf(pid, "MESITA_JOB") == job {
			n++
		}
	}
	return n
}

func (r *run) stopServices(n *lab.Node) {
	for id := range r.ledger.services {
		n.Must(http.MethodPost, "/v1/jobs/"+id+"/stop", nil, nil)
	}
	n.Await(wellWithin, "all services to have stopped", func() bool {
		return len(r.jobs(n, "")) == 0
	})
}

// checkRecord compares what tasks wrote with what the cluster says.
func (r *run) checkRecord(tasks map[string]*api.Task) {
	lines, err := r.record.Read()
	r.must(err)
	h := record.NewHistory()
	for _, l := range lines {
		for _, wrong := range h.Add(l) {
			r.stage.Errorf("%s", wrong)
		}
	}
	if r.doubles == "" {
		for _, wrong := range h.Twice {
			r.stage.Errorf("%s", wrong)
		}
	} else if len(h.Twice) > 0 {
		r.stage.Say("twice", "%d starts beside another run of the task, or after it: allowed for %s", len(h.Twice), r.doubles)
	}
	for id, t := range tasks {
		if p := r.ledger.batches[t.Job]; p != nil && p.silent || t.State != api.TaskFinished && (t.State != api.TaskFailed || t.Reason != api.ReasonExited) {
			continue
		}
		if code := h.Ends[record.Attempt{Task: id, Number: t.Attempt}]; code != number(t.ExitCode) {
			r.stage.Errorf("task %s is %s with exit code %s in attempt %d, and wrote %q", id, t.State, number(t.ExitCode), t.Attempt, code)
		}
	}
}

// checkLeft: nothing of the nodes is left on the machine.
func (r *run) checkLeft() {
	for _, n := range r.nodes {
		var left []string
		if !lab.Until(tidyWithin, func() bool { left = n.Left(); return len(left) == 0 }) {
			r.stage.Errorf("of %s is left: %v", n.Name, left)
		}
	}
	for _, m := range r.mounts() {
		r.stage.Errorf("a mount is left: %s", m)
	}
}
