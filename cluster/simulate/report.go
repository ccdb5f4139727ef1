package simulate

import (
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/simulate/trace"
)

// Report is what came of a simulation. Times are seconds, shares and
// utilisations parts of 1, work is cores times seconds.
type Report struct {
	Nodes       int               `json:"nodes"`
	CPUs        api.MilliCPU      `json:"cpus"`
	Mem         api.Bytes         `json:"mem"`
	Jobs        int               `json:"jobs"`
	Tasks       int               `json:"tasks"`
	Refused     int               `json:"refused"` // jobs that no node could ever hold
	Finished    int               `json:"finished"`
	OverTime    int               `json:"overTime"`  // tasks that their own time limit ended
	Stopped     int               `json:"stopped"`   // tasks of gangs of which another one failed
	Unstarted   int               `json:"unstarted"` // tasks that never ran
	Unfinished  int               `json:"unfinished"`
	Makespan    float64           `json:"makespan"` // from the first submission to the last end
	Utilisation Utilisation       `json:"utilisation"`
	Wait        Distribution      `json:"wait"` // of a task, for its first start
	Slowdown    float64           `json:"slowdown"`
	Preemptions Preemptions       `json:"preemptions"`
	NodeLosses  NodeLosses        `json:"nodeLosses"`
	Work        Work              `json:"work"`
	Fairness    Fairness          `json:"fairness"`
	Kept        Kept              `json:"kept"`
	Partitions  []PartitionReport `json:"partitions"`
	Users       []UserReport      `json:"users"`             // who used most first, at most 100
	Endless     bool              `json:"endless,omitempty"` // one task was preempted so often that the simulation ended there; see the notes
	Notes       []string          `json:"notes,omitempty"`
}

// Utilisation is the part of what the nodes that were up had that tasks held
// over the makespan.
type Utilisation struct {
	CPUs float64 `json:"cpus"`
	Mem  float64 `json:"mem"`
}

// Distribution sums times up.
type Distribution struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
}

// Preemptions are attempts that were preempted for others.
type Preemptions struct {
	Killed     int     `json:"killed"`
	Frozen     int     `json:"frozen"`
	LostWork   float64 `json:"lostWork"`   // of those killed
	FrozenTime float64 `json:"frozenTime"` // of those frozen
}

// NodeLosses are attempts that ended with their node.
type NodeLosses struct {
	Attempts int     `json:"attempts"`
	LostWork float64 `json:"lostWork"`
}

// Work is where all held cpus went.
type Work struct {
	Submitted float64 `json:"submitted"` // by the batch jobs that were not refused
	Done      float64 `json:"done"`      // of it
	Lost      float64 `json:"lost"`      // to preemption and failures
	OverTime  float64 `json:"overTime"`  // of tasks that their time limit ended
	Services  float64 `json:"services"`
	Open      float64 `json:"open"` // of batch tasks that were stopped or cut short by the end of the simulation
	Used      float64 `json:"used"` // the sum of all but submitted
}

// Fairness is Jain's index (Jain, Chiu, Hawe, DEC-TR-301, 1984) over dominant
// resource time divided by weight, of those who submitted work: 1 is all
// alike, 1/n is one of n has it all.
type Fairness struct {
	Partitions float64 `json:"partitions"`
	Users      float64 `json:"users"`
}

// Kept is what came of the room that was kept for the first task in line.
type Kept struct {
	Idle     float64 `json:"idle"`     // the part of the cluster that was free for its sake, over the makespan
	Promised int     `json:"promised"` // tasks that waited first, were promised a time, and started
	Late     int     `json:"late"`     // those that started later than that
	Latest   float64 `json:"latest"`   // by how much, at most
}

func (k *Kept) add(o Kept) {
	k.Idle, k.Promised, k.Late, k.Latest = k.Idle+o.Idle, k.Promised+o.Promised, k.Late+o.Late, max(k.Latest, o.Latest)
}

// PartitionReport is one partition, those below it not counted.
type PartitionReport struct {
	Path      string       `json:"path"`
	Weight    api.Weight   `json:"weight"`
	Jobs      int          `json:"jobs"`
	Tasks     int          `json:"tasks"`
	Share     float64      `json:"share"`    // dominant, over the makespan
	Backlog   float64      `json:"backlog"`  // seconds in which tasks of it waited
	Got       float64      `json:"got"`      // its dominant share in that time
	Entitled  float64      `json:"entitled"` // its fair share in that time
	Error     float64      `json:"error"`    // the one less the other
	Kept      Kept         `json:"kept"`
	Wait      Distribution `json:"wait"`
	Slowdown  float64      `json:"slowdown"`
	Preempted int          `json:"preempted"`
	Frozen    int          `json:"frozen"`
}

// UserReport is one user.
type UserReport struct {
	Name  string  `json:"name"`
	Tasks int     `json:"tasks"`
	Share float64 `json:"share"` // dominant, over the makespan
}

// maxUsers bounds the users that a report lists.
const maxUsers = 100

// Result is a simulation that is over.
type Result struct {
	Report      Report
	nodes       []node
	jobs        []jobRun
	parts       []string // paths of the partitions with work, in order
	partOf      map[string]int
	segments    []segment
	attempts    []attempt
	begin       time.Duration // of the trace, see trace.Begin
	down        [][]span
	levels      []level
	first, last time.Duration
}

// held is resource time: cores or bytes, times seconds.
type held struct{ cpus, mem float64 }

func (h *held) add(s *segment, j *trace.Job) {
	d := (s.to - s.from).Seconds()
	if !s.frozen {
		h.cpus += d * j.CPUs.Cores()
	}
	h.mem += d * float64(j.Mem)
}

// result sums everything up.
func (r *recorder) result(s *simulator) *Result {
	out := &Result{nodes: r.nodes, jobs: r.jobs, partOf: map[string]int{}, segments: r.segments, attempts: r.attempts, begin: s.trace.Begin, down: r.down, levels: r.levels}
	out.first, out.last = r.extent(s)
	rep := &out.Report
	rep.Nodes, rep.CPUs, rep.Mem, rep.Refused = len(r.nodes), r.capacity.CPUs, r.capacity.Mem, r.refusals
	rep.Makespan = (out.last - out.first).Seconds()
	parts, users := r.sumSegments(rep, out.first, out.last)
	capacity := out.capacity()
	var all held
	for _, h := range parts {
		all.cpus, all.mem = all.cpus+h.cpus, all.mem+h.mem
	}
	rep.Utilisation = Utilisation{ratio(all.cpus, capacity.cpus), ratio(all.mem, capacity.mem)}
	rep.Wait = distribution(r.waits, -1)
	r.reportParts(out, parts, s)
	r.reportUsers(rep, users)
	r.countTasks(rep)
	rep.Endless = s.endless != ""
	rep.Notes = append(slices.Clone(s.trace.Notes), r.notes(s, rep)...)
	return out
}

// extent is from the first submission to the last end of batch work, or to the
// end of the simulation if some is left.
func (r *recorder) extent(s *simulator) (first, last time.Duration) {
	for i := range r.jobs {
		if !r.jobs[i].refused {
			first = r.jobs[i].Submit
			break
		}
	}
	for _, p := range r.parts {
		last = max(last, p.lastEnd)
	}
	if len(s.runs) > 0 || s.cluster.Until > 0 {
		last = max(last, s.now)
	}
	return first, max(first, last)
}

func (r *recorder) sumSegments(rep *Report, first, last time.Duration) (parts, users map[string]*held) {
	parts, users = map[string]*held{}, map[string]*held{}
	at := func(m map[string]*held, k string) *held {
		if m[k] == nil {
			m[k] = &held{}
		}
		return m[k]
	}
	for i := range r.segments {
		x := &r.segments[i]
		j := r.jobs[x.job].Job
		r.sumWork(rep, x, j)
		clipped := *x
		clipped.from, clipped.to = max(x.from, first), min(x.to, last)
		if clipped.to > clipped.from {
			at(parts, j.Partition).add(&clipped, j)
			at(users, j.User).add(&clipped, j)
		}
	}
	return parts, users
}

func (r *recorder) sumWork(rep *Report, x *segment, j *trace.Job) {
	d := (x.to - x.from).Seconds()
	if x.frozen {
		rep.Preemptions.FrozenTime += d
		return
	}
	work := d * j.CPUs.Cores()
	w := &rep.Work
	w.Used += work
	switch {
	case x.outcome == outcomePreempted && j.Kind == api.KindBatch:
		w.Lost += work
		rep.Preemptions.LostWork += work
	case x.outcome == outcomeNodeLost && j.Kind == api.KindBatch:
		w.Lost += work
		rep.NodeLosses.LostWork += work
	case j.Kind == api.KindService:
		w.Services += work
	case x.outcome == outcomeFinished:
		w.Done += work
	case x.outcome == outcomeLimit:
		w.OverTime += work
	default:
		w.Open += work
	}
}

// capacity is what the nodes had while they were up, over the makespan.
func (out *Result) capacity() held {
	var h held
	for i, n := range out.nodes {
		up := (out.last - out.first).Seconds()
		for _, d := range out.down[i] {
			if from, to := max(d.from, out.first), min(d.to, out.last); to > from {
				up -= (to - from).Seconds()
			}
		}
		h.cpus += up * n.resources.CPUs.Cores()
		h.mem += up * float64(n.resources.Mem)
	}
	return h
}

// shareOf is the dominant share of the cluster over the makespan.
func (r *recorder) shareOf(h *held, makespan float64) float64 {
	if h == nil {
		return 0
	}
	return max(ratio(h.cpus, r.capacity.CPUs.Cores()*makespan), ratio(h.mem, float64(r.capacity.Mem)*makespan))
}

func (r *recorder) reportParts(out *Result, sums map[string]*held, s *simulator) {
	rep := &out.Report
	var weighted []float64
	slowdown, ended := 0.0, 0
	for i, p := range r.parts {
		rep.Preemptions.Killed += p.preempted
		rep.Preemptions.Frozen += p.freezes
		rep.NodeLosses.Attempts += p.nodeLost
		slowdown, ended = slowdown+p.slowdown, ended+p.ended
		if p.jobs == 0 {
			continue
		}
		share := r.shareOf(sums[p.Path], rep.Makespan)
		weighted = append(weighted, ratio(share*1000, float64(p.Weight)))
		out.partOf[p.Path] = len(out.parts)
		out.parts = append(out.parts, p.Path)
		kept := s.kept(p.Path, rep.Makespan)
		rep.Kept.add(kept)
		rep.Partitions = append(rep.Partitions, PartitionReport{Path: p.Path, Weight: p.Weight, Jobs: p.jobs, Tasks: p.tasks, Share: share,
			Backlog: p.backlog, Got: ratio(p.gotTime, p.backlog), Entitled: ratio(p.fairTime, p.backlog), Error: ratio(p.gotTime-p.fairTime, p.backlog), Kept: kept, Wait: distribution(r.waits, i),
			Slowdown: ratio(p.slowdown, float64(p.ended)), Preempted: p.preempted, Frozen: p.freezes})
	}
	rep.Slowdown = ratio(slowdown, float64(ended))
	rep.Fairness.Partitions = jain(weighted)
}

// kept is what came of the room that was kept for a partition's first in line.
func (s *simulator) kept(path string, makespan float64) Kept {
	t, _ := s.tallies.Of(path, s.clock())
	return Kept{ratio(t.Idled, makespan), t.Heads, t.Late, t.Most.Seconds()}
}

func (r *recorder) reportUsers(rep *Report, sums map[string]*held) {
	tasks := map[string]int{}
	for i := range r.jobs {
		if j := &r.jobs[i]; j.id != "" {
			tasks[j.User] += j.Tasks
		}
	}
	var shares []float64
	for _, u := range slices.Sorted(maps.Keys(tasks)) {
		share := r.shareOf(sums[u], rep.Makespan)
		shares = append(shares, share)
		rep.Users = append(rep.Users, UserReport{u, tasks[u], share})
	}
	rep.Fairness.Users = jain(shares)
	sort.SliceStable(rep.Users, func(i, j int) bool { return rep.Users[i].Share > rep.Users[j].Share })
	rep.Users = rep.Users[:min(len(rep.Users), maxUsers)]
}

// jain is 1 for nobody: nobody was treated unfairly.
func jain(x []float64) float64 {
	var sum, squares float64
	for _, v := range x {
		sum, squares = sum+v, squares+v*v
	}
	if squares == 0 {
		return 1
	}
	return sum * sum / (float64(len(x)) * squares)
}

func (r *recorder) countTasks(rep *Report) {
	batch := 0
	for i := range r.jobs {
		j := &r.jobs[i]
		if j.id == "" {
			continue
		}
		rep.Jobs++
		rep.Tasks += j.Tasks
		if j.Kind != api.KindBatch {
			continue
		}
		batch += j.Tasks
		for k := range j.Tasks {
			rep.Work.Submitted += j.TaskRuntime(k).Seconds() * j.CPUs.Cores()
		}
	}
	ended := 0
	for _, p := range r.parts {
		rep.Finished += p.finished
		rep.Stopped += p.stopped
		ended += p.ended
	}
	rep.OverTime = ended - rep.Finished
	rep.Unstarted = rep.Tasks - len(r.waits)
	rep.Unfinished = batch - ended - rep.Stopped
}

// distribution sums the waits of one partition up, or of all (-1).
func distribution(waits []wait, part int) Distribution {
	var all []time.Duration
	var sum float64
	for _, w := range waits {
		if part < 0 || w.part == part {
			all = append(all, w.time)
			sum += w.time.Seconds()
		}
	}
	if len(all) == 0 {
		return Distribution{}
	}
	slices.Sort(all)
	// The nearest rank: the smallest value that so many are not above.
	at := func(percent int) float64 { return all[max(0, (len(all)*percent+99)/100-1)].Seconds() }
	return Distribution{Mean: sum / float64(len(all)), P50: at(50), P90: at(90), P99: at(99), Max: all[len(all)-1].Seconds()}
}
