package integration

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
	"github.com/mesita/mesita/fsm"
)

func service(name string, count int) api.JobSpec {
	return api.JobSpec{Name: name, Kind: api.KindService, Count: new(count), TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 250, Mem: 64 << 20}}}}
}

func array(name, indexes string, retries int) api.JobSpec {
	return api.JobSpec{Name: name, Kind: api.KindBatch, Array: indexes, Retries: retries,
		TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 500, Mem: 64 << 20}}}}
}

// moods is what becomes of attempts: services run for ever, some tasks of an
// array fail at first, and one of them always.
func moods(r keeper.StartRequest) runtimetest.Plan {
	job, index, attempt := attemptID(r.ID)
	p := runtimetest.Plan{Run: 500*time.Millisecond + time.Duration(index*37%19)*100*time.Millisecond}
	switch {
	case job == "web":
		return runtimetest.Plan{}
	case index%10 == 3 && attempt == 1:
		p.Code = 3
	case index%10 == 7 && attempt <= 2:
		p.OOM = true
	case job == "doomed" && index == 4:
		p.Code = 9
	}
	return p
}

func (s *sim) job(id string) *api.Job {
	s.t.Helper()
	return s.awaitLeader().store.View().Job(id)
}

// ended waits for a batch to end.
func (s *sim) ended(id string, limit time.Duration) *api.Job {
	s.t.Helper()
	var j *api.Job
	s.until(limit, "the end of job "+id, func() bool { j = s.job(id); return j != nil && j.State.Ended() })
	return j
}

// runs waits until exactly the wanted number of a service runs, in the state
// and on the machines.
func (s *sim) runs(id string, count int) {
	s.t.Helper()
	s.until(30*time.Second, "exactly the wanted number of tasks of "+id, func() bool {
		j := s.job(id)
		return j != nil && j.Counts.Running == count && j.Counts.Live() == count && s.alive(id) == count
	})
}

// alive counts the processes of a job on all machines.
func (s *sim) alive(id string) int {
	count := 0
	for _, n := range s.nodes {
		for _, a := range n.rt.Alive() {
			if job, _, _ := attemptID(a); job == id {
				count++
			}
		}
	}
	return count
}

// finals lists what the cluster counted as ends of attempts, and fails if it
// counted one twice.
func (s *sim) finals(job string) map[string]*api.Task {
	s.t.Helper()
	out := map[string]*api.Task{}
	for _, e := range s.awaitLeader().store.RecentEvents(1 << 20) {
		if e.Kind != api.EventTaskState || e.Job != job || !e.Task.State.Final() {
			continue
		}
		id := fmt.Sprintf("%s/%d", e.Task.ID, e.Task.Attempt)
		if out[id] != nil {
			s.t.Errorf("the end of attempt %s was counted twice", id)
		}
		out[id] = e.Task
	}
	return out
}

// checkArray looks at every task of an array that moods decided about: how
// many attempts there were, and what became of each.
func (s *sim) checkArray(job string, retries int) {
	s.t.Helper()
	finals := s.finals(job)
	for t := range s.awaitLeader().store.View().JobTasks(job) {
		for n := 1; ; n++ {
			id := fmt.Sprintf("%s/%d", t.ID, n)
			plan, end := moods(keeper.StartRequest{ID: id}), finals[id]
			if end == nil {
				s.t.Errorf("attempt %s has no end", id)
				break
			}
			want := api.TaskFinished
			if plan.OOM || plan.Code != 0 {
				want = api.TaskFailed
			}
			if end.State != want || !plan.OOM && (end.ExitCode == nil || *end.ExitCode != plan.Code) || plan.OOM && end.Reason != api.ReasonOOM {
				s.t.Errorf("attempt %s ended as %s, code %v, %q; it was to be %+v", id, end.State, end.ExitCode, end.Reason, plan)
			}
			if end.State == api.TaskFinished || n > retries {
				if t.Attempt != n || t.State != end.State || len(t.Earlier) != n-1 {
					s.t.Errorf("task %s is %s in attempt %d after %d others, want %s in attempt %d", t.ID, t.State, t.Attempt, len(t.Earlier), end.State, n)
				}
				break
			}
		}
	}
}

func (s *sim) checkJob(j *api.Job, state api.JobState, code, finished, failed int) {
	s.t.Helper()
	if j.State != state || j.ExitCode == nil || *j.ExitCode != code || j.Counts.Finished != finished || j.Counts.Failed != failed || j.Counts.Live() != 0 {
		s.t.Errorf("job %s is %s, exit code %v, %+v; want %s, %d, %d finished and %d failed", j.ID, j.State, j.ExitCode, j.Counts, state, code, finished, failed)
	}
}

// pids are the processes of a service, by task and attempt.
func (s *sim) pids(job string) map[string]int {
	out := map[string]int{}
	for t := range s.awaitLeader().store.View().JobTasks(job) {
		out[fmt.Sprintf("%s/%d", t.ID, t.Attempt)] = t.PID
	}
	return out
}

func (s *sim) awaitOtherLeader(old *simDaemon) (l *simDaemon) {
	s.t.Helper()
	s.until(10*time.Second, "another node to lead", func() bool { l = s.leader(); return l != nil && l.simNode != old.simNode })
	return l
}

// A service and arrays with failures run as asked, with the right codes.
func TestSimulatedWork(t *testing.T) {
	simulate(t, moods, func(s *sim) {
		s.submit(service("web", 3))
		s.submit(array("sum", "0-29", 2))
		s.submit(array("doomed", "0-9", 2))
		s.runs("web", 3)
		s.checkJob(s.ended("sum", time.Minute), api.JobFinished, 0, 30, 0)
		s.checkJob(s.ended("doomed", time.Minute), api.JobFailed, 9, 9, 1)
		s.checkArray("sum", 2)
		s.checkArray("doomed", 2)
		s.must(&fsm.JobScale{Meta: s.meta(), ID: "web", Count: 5})
		s.runs("web", 5)
		s.must(&fsm.JobScale{Meta: s.meta(), ID: "web", Count: 2})
		s.runs("web", 2)
		s.must(&fsm.JobStop{Meta: s.meta(), ID: "web"})
		s.ended("web", time.Minute)
		if n := s.alive("web"); n != 0 {
			t.Errorf("%d processes of a stopped job run", n)
		}
		s.agreed()
	})
}

// The leader is cut off: another leads, work continues, and the old one comes
// back to the same state as the others.
func TestSimulatedLeaderCutOff(t *testing.T) {
	simulate(t, moods, func(s *sim) {
		s.submit(service("web", 3))
		s.submit(array("sum", "0-29", 2))
		s.runs("web", 3)
		old := s.awaitLeader()
		old.cut()
		began := time.Now()
		next := s.awaitOtherLeader(old)
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("nobody led for %v", d)
		}
		s.submit(array("late", "0-9", 2))
		s.checkJob(s.ended("late", time.Minute), api.JobFinished, 0, 10, 0)
		s.checkJob(s.ended("sum", time.Minute), api.JobFinished, 0, 30, 0)
		s.until(30*time.Second, "three tasks on the two nodes that are left", func() bool {
			return s.job("web").Counts.Running == 3 && len(next.store.View().Assignments(old.id)) == 0
		})
		if old.store.View().Job("late") != nil {
			t.Error("a node that is cut off knows of new work")
		}
		left := len(old.rt.Alive())
		if left == 0 {
			t.Error("the node that is cut off ended its tasks")
		}
		old.heal()
		s.runs("web", 3)
		s.agreed()
		s.finals("sum")
	})
}

// What a node reports is lost for a while, on its way or on the way back: each
// task counts once.
func TestSimulatedReportsLost(t *testing.T) {
	for how, name := range map[int32]string{reportsLost: "on their way", answersLost: "on the way back"} {
		t.Run(name, func(t *testing.T) {
			simulate(t, moods, func(s *sim) {
				s.submit(service("web", 3))
				s.runs("web", 3)
				before := s.pids("web")
				for _, n := range s.nodes {
					n.reports.Store(how)
				}
				s.submit(array("sum", "0-29", 2))
				s.pass(20 * time.Second)
				if j := s.job("sum"); how == reportsLost && j.Counts.Finished > 0 {
					t.Errorf("%d tasks ended without a report", j.Counts.Finished)
				}
				for _, n := range s.nodes {
					n.reports.Store(reportsArrive)
					s.pass(700 * time.Millisecond)
				}
				s.checkJob(s.ended("sum", 2*time.Minute), api.JobFinished, 0, 30, 0)
				s.checkArray("sum", 2)
				s.runs("web", 3)
				if after := s.pids("web"); !maps.Equal(before, after) {
					t.Errorf("the service's processes were %v and are %v", before, after)
				}
				s.agreed()
			})
		})
	}
}

// Each daemon is stopped and started again in turn, the leader's too: the same
// processes continue, and what ended meanwhile is not lost.
func TestSimulatedDaemonsRestart(t *testing.T) {
	simulate(t, moods, func(s *sim) {
		s.submit(service("web", 3))
		s.runs("web", 3)
		before := s.pids("web")
		s.submit(array("sum", "0-29", 2))
		s.pass(300 * time.Millisecond)
		for _, n := range s.nodes {
			n.stop()
			s.pass(1500 * time.Millisecond) // all that it ran ends, but for the service
			n.start()
			s.pass(2 * time.Second)
		}
		s.checkJob(s.ended("sum", 2*time.Minute), api.JobFinished, 0, 30, 0)
		s.checkArray("sum", 2)
		s.runs("web", 3)
		if after := s.pids("web"); !maps.Equal(before, after) {
			t.Errorf("the service's processes were %v and are %v", before, after)
		}
		s.agreed()
	})
}

// The quorum is lost and comes back; nothing that was acknowledged is.
func TestSimulatedQuorumLost(t *testing.T) {
	simulate(t, moods, func(s *sim) {
		s.submit(service("web", 3))
		s.submit(array("sum", "0-29", 2))
		s.pass(time.Second)
		for _, n := range s.nodes {
			n.cut()
		}
		s.pass(30 * time.Second)
		if l := s.leader(); l != nil {
			t.Errorf("%s leads nobody", l.name)
		}
		for _, n := range s.nodes {
			n.heal()
		}
		s.checkJob(s.ended("sum", 2*time.Minute), api.JobFinished, 0, 30, 0)
		s.checkArray("sum", 2)
		s.runs("web", 3)
		s.agreed()
	})
}

// Nodes join and are removed while work is under way: it spreads to the new
// one, and leaves the one that is gone.
func TestSimulatedNodesComeAndGo(t *testing.T) {
	simulate(t, moods, func(s *sim) {
		s.submit(service("web", 6))
		s.submit(array("sum", "0-29", 2))
		s.runs("web", 6)
		fresh := s.addNode(3)
		fresh.start()
		s.admit(fresh)
		s.until(10*time.Second, "the new node to be ready", func() bool { return s.nodeState(fresh) == api.NodeReady })
		s.submit(array("more", "0-29", 2))
		s.checkJob(s.ended("sum", time.Minute), api.JobFinished, 0, 30, 0)
		s.checkJob(s.ended("more", time.Minute), api.JobFinished, 0, 30, 0)
		if len(fresh.rt.Started()) == 0 {
			t.Error("the new node was given nothing")
		}
		gone := s.nodes[1]
		if len(gone.rt.Alive()) == 0 {
			t.Fatal("nothing runs on the node that is to be removed")
		}
		s.must(&fsm.NodeRemove{Meta: s.meta(), ID: gone.id, Force: true})
		s.submit(array("rest", "0-9", 2))
		s.runs("web", 6)
		s.checkJob(s.ended("rest", time.Minute), api.JobFinished, 0, 10, 0)
		if n := len(gone.rt.Alive()); n != 0 {
			t.Errorf("%d processes run on the node that was removed", n)
		}
		for _, job := range []string{"sum", "more", "rest"} {
			s.checkArray(job, 2)
		}
		s.agreed()
	})
}
