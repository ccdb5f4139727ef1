package integration

import (
	"net/http"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// The link between the leader and a follower, then a worker, is cut, and all
// others hold: their clients are served through a third node. (That the leader continues
// to lead is a matter of time, and tested where time is not real: cluster/consensus.)
func TestOneCutLink(t *testing.T) {
	l := newLab(t, 4)
	l.Form()
	leader, worker := l.Leader(), l.Nodes[3]
	follower := l.Other(leader, worker)
	for _, n := range []*lab.Node{follower, worker} {
		l.Wire.Between(leader, n, lab.Trouble{Cut: true})
		l.Await(lab.Patience, "a write through "+n.Name, func() bool {
			return n.Call(http.MethodPost, "/v1/jobs", trueJob(), nil) == nil
		})
		var j api.Job
		n.Must(http.MethodPost, "/v1/jobs", trueJob(), &j)
		j = n.AwaitJob(j.ID, "ended")
		if j.State != api.JobFinished {
			t.Errorf("through %s: job %s is %s", n.Name, j.ID, j.State)
		}
		l.Wire.Between(leader, n, lab.Trouble{})
	}
}
