package integration

import (
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

// doubleFor is how long a node that came back may take to end what was started
// elsewhere meanwhile.
const doubleFor = 3 * time.Second

// watchdog looks at what must hold at all times, whatever is cut, lost or
// restarted.
type watchdog struct {
	double  map[string]time.Time // tasks that run twice, and since when
	started map[string]string    // attempts, and where
	seen    map[string]int       // starts on each node that are in started
}

func (w *watchdog) look(s *sim) {
	s.t.Helper()
	for _, n := range s.nodes {
		if d := n.daemon.Load(); d != nil {
			w.resources(d)
		}
	}
	w.attempts(s)
	w.tasks(s)
}

// resources: no node is given more than it has, and each unit is in one place.
func (w *watchdog) resources(d *simDaemon) {
	d.t.Helper()
	v := d.store.View()
	for n := range v.Nodes() {
		var held api.Resources
		for t := range v.NodeTasks(n.ID) {
			held = held.Add(t.Resources)
		}
		l, _ := v.Ledger(n.ID)
		if !n.Resources.Fits(held) || !n.Resources.Equal(l.Free.Add(l.Offered).Add(l.Allocated).Add(l.Reclaiming)) {
			d.t.Fatalf("%s thinks that %s has %+v, that its tasks hold %+v, and keeps %+v", d.name, n.Name, n.Resources, held, l)
		}
	}
}

// attempts: no attempt is ever started twice, on one node or on two.
func (w *watchdog) attempts(s *sim) {
	s.t.Helper()
	if w.started == nil {
		w.started, w.seen = map[string]string{}, map[string]int{}
	}
	for _, n := range s.nodes {
		all := n.rt.Started()
		for _, r := range all[w.seen[n.name]:] {
			if other, ok := w.started[r.ID]; ok {
				s.t.Fatalf("attempt %s was started on %s and on %s", r.ID, other, n.name)
			}
			w.started[r.ID] = n.name
		}
		w.seen[n.name] = len(all)
	}
}

// tasks: of no index more than one runs on the nodes that the cluster counts
// on, once a node that was away had a moment to see what it missed.
func (w *watchdog) tasks(s *sim) {
	s.t.Helper()
	l := s.leader()
	if l == nil || l.store.View().Cluster() == nil {
		return
	}
	alive := map[string]int{}
	for _, n := range s.nodes {
		if node := l.store.View().Node(n.id); node == nil || node.State != api.NodeReady || n.away.Load() || n.daemon.Load() == nil {
			continue
		}
		for _, id := range n.rt.Alive() {
			task, _, _ := strings.Cut(id, "/")
			alive[task]++
		}
	}
	double := map[string]time.Time{}
	for task, count := range alive {
		if count < 2 {
			continue
		}
		since, ok := w.double[task]
		if !ok {
			since = time.Now()
		}
		double[task] = since
		if time.Since(since) > doubleFor {
			s.t.Fatalf("%d processes of task %s run for %v", count, task, time.Since(since))
		}
	}
	w.double = double
}

// attemptID takes a keeper's id apart: "job.index/attempt".
func attemptID(id string) (job string, index, attempt int) {
	task, n, _ := strings.Cut(id, "/")
	at := strings.LastIndexByte(task, '.')
	index, _ = strconv.Atoi(task[at+1:])
	attempt, _ = strconv.Atoi(n)
	return task[:at], index, attempt
}
