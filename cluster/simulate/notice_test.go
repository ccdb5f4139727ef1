package simulate

import (
	"fmt"
	"testing"
)

// Where a partition gives notice, what it lent comes back by so much later; whoever has
// done its work within that time loses nothing, and no more are preempted than without it.
func TestNoticeIsWaitedFor(t *testing.T) {
	for _, c := range []struct {
		notice, runtime int
		start           float64
		killed          int
	}{{0, 1000, 10, 2}, {30, 1000, 40, 2}, {30, 25, 25, 0}} {
		notice := ""
		if c.notice > 0 {
			notice = fmt.Sprintf(`, "notice": "%ds"`, c.notice)
		}
		cluster := `{"nodes": [{"name": "n", "resources": "cpus=4,mem=4GiB"}], "partitions": [{"path": "lends", "guarantee": {"cpus": 2}}, {"path": "borrows", "minRuntime": "1s"` + notice + `}]}`
		res := simulate(t, cluster, fmt.Sprintf("submit,partition,tasks,cpus,runtime\n0,borrows,4,1,%d\n10,lends,1,2,5\n", c.runtime))
		if at, killed := starts(res, 1)[0], res.Report.Preemptions.Killed; at != c.start || killed != c.killed {
			t.Errorf("%d s of notice: it starts at %g s, and %d lost their work", c.notice, at, killed)
		}
	}
}
