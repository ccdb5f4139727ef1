package integration

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// refuseWrites has every write of the node to a file fail, as on a disk that
// died, or succeed again: of its daemon, and of the keeper and what that starts.
func refuseWrites(n *lab.Node, refuse bool) {
	n.T.Helper()
	limit := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if refuse {
		limit.Cur = 0
	}
	for _, pid := range append(n.Keepers(), n.Cmd.Process.Pid) {
		if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
			n.T.Fatalf("refuse writes: %v", err)
		}
	}
}

// The disk of a node dies, be it the leader or a follower: of 100 tasks none
// fails and none hangs, the node gets no more of them, and says why; as a voter, too.
// Once it can write again it works again, by itself.
func TestDyingDisk(t *testing.T) {
	for _, leader := range []bool{false, true} {
		t.Run("leader="+strconv.FormatBool(leader), func(t *testing.T) {
			l := newLab(t, 3)
			l.Form()
			bad := l.Leader()
			if !leader {
				bad = l.Other(bad)
			}
			good := l.Other(bad)
			// Each node has a keeper, which a disk that died starts none of.
			warm := good.Submit(map[string]any{"kind": "service", "name": "warm", "count": 3, "spread": "node.name", "cpus": 0.01, "command": []string{"/bin/sleep", "1000"}})
			l.Await(lab.Patience, "a task on each node", func() bool { return len(good.Running(warm.ID)) == 3 })
			refuseWrites(bad, true)
			var j api.Job
			l.Await(lab.Patience, "a job to be taken", func() bool { // a leader that cannot write learns so by this
				return good.Call(http.MethodPost, "/v1/jobs", map[string]any{"name": "hundred", "kind": "batch", "array": "0-99", "cpus": 0.05, "spread": "node.name", "command": []string{"/bin/true"}}, nil) == nil
			})
			l.Await(lab.Patience, "the job to end", func() bool {
				return good.Call(http.MethodGet, "/v1/jobs/hundred", nil, &j) == nil && j.State.Ended()
			})
			if j.State != api.JobFinished || j.Counts.Finished != 100 {
				t.Fatalf("the job is %s: %+v", j.State, j.Counts)
			}
			l.Await(lab.Patience, "the node to be in trouble, and said to be", func() bool {
				out, _, _ := good.CLI("incidents")
				ls, _, _ := good.CLI("node", "ls")
				return strings.Contains(out, "starts-fail") && strings.Contains(ls, "starts fail")
			})
			logBroken := func() bool { // and nobody else's is
				all, err := lab.List[*api.Incident](good, "/v1/incidents?")
				if err != nil {
					return false
				}
				for _, i := range all {
					if i.Kind == api.IncidentLogBroken && i.Node != bad.Name {
						t.Fatalf("%+v", i)
					}
				}
				return slices.ContainsFunc(all, func(i *api.Incident) bool { return i.Kind == api.IncidentLogBroken && i.Over.IsZero() })
			}
			l.Await(lab.Patience, "its log to be said to be broken", logBroken)
			refuseWrites(bad, false)
			defer l.Await(lab.Patience, "its log to be whole again", func() bool { return !logBroken() })
			l.Await(lab.Patience, "a task to start there again", func() bool {
				var job api.Job
				if good.Call(http.MethodPost, "/v1/jobs", map[string]any{"kind": "batch", "array": "0-19", "cpus": 0.05, "spread": "node.name", "command": []string{"/bin/true"}}, &job) != nil {
					return false
				}
				out, _, _ := good.CLI("incidents")
				return !strings.Contains(out, "starts-fail")
			})
		})
	}
}
