package main

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/chaos/crowd"
	"github.com/mesita/mesita/integration/chaos/linear"
	"github.com/mesita/mesita/integration/chaos/record"
	"github.com/mesita/mesita/integration/chaos/verdict"
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
	lines := r.checkRecord(r.jobs(n, "?all=1"), tasks)
	if r.o.from == "" {
		r.checkRules(lines)
		r.checkReport(n, lines, tasks)
	}
	r.sameIndex()
	lab.Terminate(r.nodes...)
	r.checkReplicas()
	r.checkLeft()
	r.stage.Say("check", "took %.1f s", time.Since(began).Seconds())
}

// steady gives services whose number is not known one again.
func (r *run) steady(n *lab.Node) {
	for id, count := range r.crowd.Services {
		var j api.Job
		err := n.Call(http.MethodGet, "/v1/jobs/"+id, nil, &j)
		if api.ErrorCode(err) == api.CodeNotFound && count < 0 {
			delete(r.crowd.Services, id) // it may have been refused when it was made
			continue
		}
		if err != nil {
			r.stage.Errorf("service %s, acknowledged, is not there: %v", id, err)
			delete(r.crowd.Services, id)
			continue
		}
		if count < 0 {
			r.crowd.Services[id] = 2
			n.Must(http.MethodPost, "/v1/jobs/"+id+"/scale", map[string]int{"count": 2}, nil)
		} else if wanted(&j) != count {
			r.stage.Errorf("service %s was scaled to %d, acknowledged, and is to have %d", id, count, wanted(&j))
		}
		if r.o.from != "" { // what a level below 2 left short is mended by the next change
			count = r.crowd.Services[id]
			n.Must(http.MethodPost, "/v1/jobs/"+id+"/scale", map[string]int{"count": count + 1}, nil)
			n.Must(http.MethodPost, "/v1/jobs/"+id+"/scale", map[string]int{"count": count}, nil)
		}
	}
}

// all is a whole list, which there must be.
func all[T any](n *lab.Node, path string) []T {
	n.T.Helper()
	out, err := lab.List[T](n, path)
	if err != nil {
		n.T.Fatalf("%s: %s: %v", n.Name, path, err)
	}
	return out
}

func (r *run) jobs(n *lab.Node, which string) map[string]*api.Job {
	out := map[string]*api.Job{}
	for _, j := range all[*api.Job](n, "/v1/jobs"+which) {
		out[j.ID] = j
	}
	return out
}

func (r *run) tasks(n *lab.Node) map[string]*api.Task {
	out := map[string]*api.Task{}
	for _, t := range all[*api.Task](n, "/v1/tasks?all=1") {
		out[t.ID] = t
	}
	return out
}

// checkBatches waits until all have ended: each acknowledged one is there, and
// each task of it in one final state with the code that it ended with.
func (r *run) checkBatches(n *lab.Node) {
	last := r.until(endWithin, func() (last string) {
		for _, j := range r.jobs(n, "?kind=batch") {
			last = fmt.Sprintf("%s is %s: %+v", j.ID, j.State, j.Counts)
		}
		return last
	})
	if last != "" {
		r.stage.Errorf("after %v: %s", endWithin, last)
	}
	jobs, tasks := r.jobs(n, "?all=1"), r.tasks(n)
	for id, p := range r.crowd.Batches {
		r.wrong(p.Batch(jobs[id], tasks, r.o.from != ""))
	}
}

// wrong tells what a verdict found.
func (r *run) wrong(all []string) {
	for _, w := range all {
		r.stage.Errorf("%s", w)
	}
}

// checkServices waits until exactly the wanted processes run.
func (r *run) checkServices(n *lab.Node) {
	for id, count := range r.crowd.Services {
		if last := r.until(wellWithin, func() string {
			run, alive := len(n.Running(id)), r.processes(id)
			if run == count && alive == count {
				return ""
			}
			return fmt.Sprintf("service %s is to have %d tasks: the cluster says that %d run, and there are %d processes", id, count, run, alive)
		}); last != "" {
			r.stage.Errorf("%s", last)
		}
	}
}

// until waits until there is nothing left to wait for, and says what it is when
// that takes long.
func (r *run) until(limit time.Duration, what func() string) (last string) {
	began, told := time.Now(), false
	lab.Until(limit, func() bool {
		last = what()
		if late := time.Since(began) > slowAfter; late && !told && last != "" {
			r.stage.Say("slow", "%s", last)
			told = true
		}
		return last == "" || r.ctx.Err() != nil
	})
	return last
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
	for id := range r.crowd.Ruled.Held { // whose client gave up before it was answered
		_ = n.Do(http.MethodPost, "/v1/jobs/"+id+"/stop", nil, nil) // most have ended, and refuse
	}
	for id := range r.crowd.Services {
		n.Must(http.MethodPost, "/v1/jobs/"+id+"/stop", nil, nil)
	}
	n.Await(wellWithin, "all services to have stopped", func() bool {
		for _, id := range append(slices.Collect(maps.Keys(r.crowd.Services)), crowd.Fought) {
			var j api.Job
			if n.Call(http.MethodGet, "/v1/jobs/"+id, nil, &j) != nil || !j.State.Ended() {
				return false
			}
		}
		return len(r.jobs(n, "?kind=batch")) == 0
	})
}

// checkRecord compares what tasks wrote with what the cluster says.
func (r *run) checkRecord(jobs map[string]*api.Job, tasks map[string]*api.Task) []record.Line {
	lines, err := r.record.Read()
	r.must(err)
	h := record.NewHistory(func(task string) bool {
		j := jobs[task[:strings.LastIndexByte(task, '.')]]
		return j != nil && j.Spec.Kind == api.KindService
	})
	for _, l := range lines {
		r.wrong(h.Add(l))
	}
	r.stage.Say("record", "%d lines; %d runs beside or after another, as their nodes could not be asked", len(lines), h.Excused)
	for id, t := range tasks {
		if p := r.crowd.Batches[t.Job]; p == nil || !p.Silent {
			r.wrong(verdict.Written(t, h.Ends[record.Attempt{Task: id, Number: t.Attempt}]))
		}
	}
	return lines
}

// checkRules: what was held started after its release, and who was told to leave ran
// until then.
func (r *run) checkRules(lines []record.Line) {
	up, err := record.Uptime()
	r.must(err)
	boot := time.Now().Add(-time.Duration(up * float64(time.Second)))
	for _, l := range lines {
		r.wrong(verdict.Held(l, r.crowd.Ruled.Held))
		r.wrong(verdict.Noticed(l, r.crowd.Ruled.Leaves, boot))
	}
	r.stage.Say("rules", "%v", r.crowd.Ruled)
}

// checkReport compares the sums of the report with each other, and with who wrote that it
// started.
func (r *run) checkReport(n *lab.Node, lines []record.Line, tasks map[string]*api.Task) {
	started := map[record.Attempt]bool{}
	for _, l := range lines {
		switch l.What {
		case "start":
			started[record.Attempt{Task: l.Task, Number: l.Attempt}] = true
		case "parted": // one of the two clusters is forgotten, with what it started
			clear(started)
		}
	}
	by := map[string][]*api.ReportRow{}
	for _, way := range api.ReportWays {
		by[way] = all[*api.ReportRow](n, "/v1/report?since=1d&by="+way)
	}
	kept := maps.Clone(tasks)
	maps.DeleteFunc(kept, func(_ string, t *api.Task) bool { return r.crowd.Batches[t.Job] == nil }) // a service forgets those that it has no more
	r.wrong(verdict.Report(by, kept, started))
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

// checkLinear looks for an order of the rivals' operations that explains every
// answer they got. The last reading of the service counts as one of them.
func (r *run) checkLinear(n *lab.Node) {
	var j api.Job
	began := time.Now()
	n.Must(http.MethodGet, "/v1/jobs/"+crowd.Fought, nil, &j)
	r.crowd.Histories.Note("scale", crowd.Rivals, began, linear.Change{Object: crowd.Fought, Count: wanted(&j), Read: true}, linear.Done)
	for _, name := range append(r.crowd.Names(), crowd.Fought) {
		if err := n.Do(http.MethodPost, "/v1/jobs/"+name+"/stop", nil, nil); err != nil {
			r.stage.Errorf("job %s was acknowledged and cannot be stopped: %v", name, err)
		}
	}
	r.stopOthers(n)
	wrong, count := r.crowd.Histories.Check()
	for _, w := range wrong {
		r.stage.Errorf("%s", w)
	}
	r.stage.Say("order", "%d operations of %d rivals have an order", count, crowd.Rivals)
}

// stopOthers stops the jobs whose names were given without an answer.
func (r *run) stopOthers(n *lab.Node) {
	for id, j := range r.jobs(n, "?kind=batch") {
		if j.Spec.Partition == crowd.Fought && !j.Stop {
			n.Must(http.MethodPost, "/v1/jobs/"+id+"/stop", nil, nil)
		}
	}
}
