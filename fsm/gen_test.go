package fsm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
)

// generator makes random commands, valid and stale ones, with names that
// collide often.
type generator struct {
	*rand.Rand
	now        time.Time
	frameworks bool // mostly about them, at the newest level
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 7)), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), frameworks: seed%3 == 2}
}

func (g *generator) meta() Meta {
	g.now = g.now.Add(time.Duration(g.IntN(5000)) * time.Millisecond)
	return Meta{At: g.now, Actor: "test"}
}

// user is meta of one of a few users, root of two nodes among them.
func (g *generator) user() Meta {
	m := g.meta()
	who := []string{"test", "token:ann", "root@n0", "root@n1"}
	m.Actor = who[m.At.UnixMilli()%int64(len(who))]
	return m
}

func nodeID(i int) string { return fmt.Sprintf("node%04d", i) }

func testInit() *ClusterInit {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &ClusterInit{Level: Newest, Meta: Meta{At: at}, Cluster: &api.Cluster{ID: "c1", Name: "pine", Created: at},
		Authority: &api.Authority{CACert: []byte("cert"), CAKey: []byte("key"), GossipKey: []byte("0123")},
		Node:      &api.Node{ID: nodeID(0), Name: "n0", State: api.NodeDown, Joined: at, Since: at}}
}

func testSpec(kind api.Kind, name string, n int) *api.JobSpec {
	s := &api.JobSpec{Name: name, Kind: kind, TaskSpec: api.TaskSpec{Command: []string{"/bin/true"},
		Placing: api.Placing{Request: api.Request{CPUs: 250, Mem: 64 << 20, Ports: []api.PortRequest{{Name: "http"}}}}}}
	if kind == api.KindService {
		s.Count = new(n)
	} else {
		s.Array, s.Retries = fmt.Sprintf("0-%d", n-1), 1
	}
	s.Normalize()
	return s
}

func testHello(cpus api.MilliCPU) api.NodeHello {
	return api.NodeHello{Addr: "10.0.0.1:5050", Version: "1", Boot: "b", Attrs: map[string]string{"zone": "a"},
		Resources: api.Resources{CPUs: cpus, Mem: 1 << 30, Disk: 64 << 20, Ports: api.Ranges{{First: 20000, Last: 20099}}}}
}

func (g *generator) jobName() string { return fmt.Sprintf("job-%d", g.IntN(4)) }

// command makes one command that may or may not be acceptable in v.
func (g *generator) command(v *View) Command {
	if g.IntN(200) == 0 {
		return &LevelSet{Meta: g.meta(), Level: Newest}
	}
	if g.IntN(100) == 0 {
		c := &GossipKey{Meta: g.meta(), Key: bytes.Repeat([]byte{byte(g.IntN(256))}, 32)}
		if a := v.Authority(); a != nil {
			c.Step, c.Gone = a.GossipStep, v.Index()
		}
		return c
	}
	if g.IntN(100) == 0 && v.Does(LeastRights) {
		if v.Token("t") == nil {
			return &TokenCreate{Meta: g.meta(), Token: &api.Token{ID: "t", Kind: api.TokenClient, Name: "ci", Hash: "h", Role: api.RoleViewer}}
		}
		rights := []string{"viewer", "deployer@prod", "deployer@a/web-*"}
		return &TokenRights{Meta: g.meta(), Of: "ci", Grant: rights[:1+g.IntN(3)], Revoke: rights[g.IntN(3):]}
	}
	if g.IntN(50) == 0 { // most agree, or nothing would be written any more
		same := api.StateAnswer{Version: "1", State: "x"}
		a, b, c := same, same, same
		a.NodeID, b.NodeID, c.NodeID, c.State = nodeID(0), nodeID(1), nodeID(2), fmt.Sprint("x", g.IntN(2))
		return &StateCheck{Meta: g.meta(), Of: v.Index(), Answers: []api.StateAnswer{a, b, c}}
	}
	if g.IntN(100) == 0 && v.Does(VoterTokens) {
		if g.IntN(2) == 0 {
			return &NodeDemote{Meta: g.meta(), ID: nodeID(g.IntN(4))}
		}
		return &NodePromote{Meta: g.meta(), ID: nodeID(g.IntN(4))}
	}
	if g.IntN(100) == 0 && v.Does(LocalAdmins) {
		return &ClusterSet{Meta: g.meta(), NoLocalAdmin: g.IntN(2) == 0}
	}
	if g.IntN(60) == 0 && v.Does(ForgetByAge) {
		m := g.meta()
		c := &Forget{Meta: m, Incidents: m.At.Add(-time.Duration(g.IntN(600)) * time.Second), Tokens: m.At}
		if v.Does(Accounts) {
			c.Day = Day(m.At) + m.At.UnixMilli()%(axes[ByJob].days+2) // as if it was long ago
		}
		return c
	}
	if g.IntN(60) == 0 && v.Does(IncidentsEnd) {
		return &IncidentClose{Meta: g.meta(), IDs: []uint64{g.Uint64N(20), g.Uint64N(20)}[:1+g.IntN(2)]}
	}
	if v.Does(WaitingChanges) && g.IntN(15) == 0 {
		if j := v.Job(g.anyJob(v)); j != nil {
			return g.waiting(j)
		}
	}
	if v.Does(AppliedWhole) && g.IntN(20) == 0 {
		return g.applyAll(v)
	}
	if v.Does(Frameworks) && g.frameworks && g.IntN(6) == 0 {
		return g.reservationChange(v)
	}
	if v.Does(Frameworks) && (g.IntN(4) == 0 || g.frameworks && g.IntN(3) > 0) {
		return g.framework(v)
	}
	if n := v.Node(nodeID(g.IntN(4))); n != nil && n.Starts.Stopped() && g.IntN(4) == 0 {
		return &NodeTrial{Meta: g.meta(), ID: n.ID, Since: n.Starts.Since}
	}
	switch g.IntN(17) {
	case 0:
		h := testHello(api.MilliCPU(1000 * (1 + g.IntN(4))))
		if v.Does(OutsideUse) && g.IntN(2) == 0 {
			h.Outside = &api.Outside{Mem: api.Bytes(g.IntN(2 << 30)), Ports: g.holders()}
		}
		if v.Does(RefilledVoters) && g.IntN(4) == 0 {
			h.Refill = &api.Refill{Lost: "its log is an older copy", Entries: uint64(g.IntN(3)), From: nodeID(g.IntN(4))}
		}
		if v.Does(AuditMarks) && g.IntN(4) == 0 {
			h.Audit = &api.AuditMark{Number: uint64(g.IntN(5)), Hash: "ab", Trouble: []string{"", "it cannot be written"}[g.IntN(2)]}
		}
		if v.Does(LogFaults) && g.IntN(8) == 0 {
			h.LogFault = "disk full"
		}
		if v.Does(Notices) && (g.frameworks || g.IntN(2) == 0) {
			h.Level = int(Newest)
		}
		h.KeeperSilent = v.Does(SilentKeepers) && g.IntN(4) == 0
		if v.Does(Floods) && g.IntN(4) == 0 {
			h.Flood = &api.Flood{Who: "10.0.0.1", Of: "streams"}
		}
		if v.Does(MemLimits) {
			h.Resources.MemExtra = h.Resources.Mem * api.Bytes(g.IntN(3)) / 2
		}
		if v.Does(Pins) {
			h.Resources.Pins = int64(g.IntN(3))
		}
		return &NodeHello{Meta: g.meta(), ID: nodeID(g.IntN(4)), Hello: h}
	case 1:
		n := v.Node(nodeID(g.IntN(4)))
		if n == nil || g.IntN(3) > 0 {
			return &NodeJoin{Meta: g.meta(), Token: "t1", Hash: "h", NodeID: nodeID(g.IntN(4)), Name: fmt.Sprintf("n%d", g.IntN(4))}
		}
		if v.Level() > 0 && g.IntN(2) == 0 {
			return g.away(v, n)
		}
		return &NodeState{Meta: g.meta(), ID: n.ID, State: []api.NodeState{api.NodeUnreachable, api.NodeDown}[g.IntN(2)], Since: n.Since, Reason: "no answer"}
	case 2, 3:
		if g.IntN(2) == 0 {
			spec := testSpec(api.KindBatch, "", 1+g.IntN(5))
			if g.IntN(3) == 0 {
				spec.Gang, spec.Array = 2, ""
			}
			if g.IntN(3) == 0 {
				spec.Partition = "ml"
			}
			spec.AtMostOnce = v.Level() > 0 && g.IntN(4) == 0
			if v.Does(ProcessSpecs) && g.IntN(4) == 0 {
				spec.Ulimits, spec.Nice, spec.User = []api.Ulimit{{Name: "nofile", Soft: 1, Hard: api.Unlimited}}, g.IntN(3), "a:b"
				spec.CPULimit = api.CPULimit(spec.CPUs * api.MilliCPU(g.IntN(3)))
			}
			if v.Does(TaskUsers) && g.IntN(4) == 0 {
				spec.User = api.TaskUser
			}
			if v.Does(MemLimits) && g.IntN(4) == 0 {
				spec.MemLimit = spec.Mem * api.Bytes(1+g.IntN(4))
			}
			if v.Does(Unconfined) && spec.MemLimit != 0 {
				spec.Unconfined = []string{api.PartSystem}
			}
			return &JobCreate{Meta: g.user(), Spec: spec, Request: fmt.Sprint(g.IntN(1000))}
		}
		return &JobCreate{Meta: g.user(), Spec: testSpec(api.KindService, g.jobName(), 1+g.IntN(4))}
	case 4:
		return &JobScale{Meta: g.meta(), ID: g.jobName(), Count: g.IntN(5)}
	case 5:
		return &JobStop{Meta: g.meta(), ID: g.anyJob(v)}
	case 6:
		return &JobRemove{Meta: g.meta(), IDs: []string{g.anyJob(v), g.anyJob(v)}}
	case 7:
		return &JobUpdate{Meta: g.meta(), ID: g.jobName(), Spec: testSpec(api.KindService, g.jobName(), 1+g.IntN(6))}
	case 8:
		id := g.anyJob(v)
		return &TaskCreate{Meta: g.meta(), Job: id, First: 0, Count: 1 + g.IntN(5)}
	case 9:
		return g.place(v)
	case 10, 11:
		return g.report(v)
	case 12:
		if g.IntN(2) == 0 {
			return &OfferMake{Meta: g.meta(), Offers: []*api.Offer{{ID: fmt.Sprint("o", g.IntN(5)), NodeID: nodeID(g.IntN(4)), Partition: []string{api.DefaultPartition, "ml", "ml/train"}[g.IntN(3)], Resources: api.Resources{CPUs: 500}}}}
		}
		return &OfferRemove{Meta: g.meta(), IDs: []string{fmt.Sprint("o", g.IntN(5))}}
	}
	if g.IntN(4) == 0 {
		return g.sharing(v)
	}
	t := g.anyTask(v)
	if t == nil {
		if v.Does(Sessions) && g.IntN(2) == 0 {
			s := []string{"", "s1", "s2"}
			return &NodeClaim{Meta: g.meta(), ID: nodeID(g.IntN(4)), Session: s[1+g.IntN(2)], Over: s[g.IntN(3)], Refused: g.IntN(3) == 0}
		}
		return &NodeDrain{Meta: g.meta(), ID: nodeID(g.IntN(4)), Drain: g.IntN(2) == 0}
	}
	return &TaskStop{Meta: g.meta(), IDs: []string{t.ID}, Move: g.IntN(2) == 0, Reason: api.ReasonDrained}
}

// applyAll makes one of some parts, of which one may be refused.
func (g *generator) applyAll(v *View) *ApplyAll {
	c := &ApplyAll{Meta: g.user()}
	for _, path := range []string{"prod", "ml", "ml/train"}[:g.IntN(4)] {
		c.Partitions = append(c.Partitions, &PartitionPut{Partition: &api.Partition{Path: path, Guarantee: api.Amounts{CPUs: api.MilliCPU(500 * g.IntN(4))}}})
	}
	if g.IntN(3) == 0 {
		c.Stops = append(c.Stops, &JobStop{ID: g.anyJob(v)})
	}
	for i := range 4 {
		name := fmt.Sprintf("job-%d", i)
		switch j := v.Job(name); {
		case g.IntN(2) == 0:
		case j == nil || g.IntN(4) == 0:
			c.Creates = append(c.Creates, &JobCreate{Spec: testSpec(api.KindService, name, 1+g.IntN(3))})
		default:
			c.Updates = append(c.Updates, &JobUpdate{ID: name, Spec: testSpec(api.KindService, name, 1+g.IntN(3))})
			c.Seen = append(c.Seen, Seen{Job: name, Revision: j.Revision})
		}
	}
	c.Sort(v)
	return c
}

// waiting makes a command about a job that waits, or shall.
func (g *generator) waiting(j *api.Job) Command {
	if k := g.IntN(4); k < 2 {
		return &JobHold{Meta: g.meta(), ID: j.ID, Release: k == 0}
	} else if k == 2 {
		return &JobRequeue{Meta: g.meta(), ID: j.ID}
	}
	s := *j.Spec
	s.CPUs, s.Priority = api.MilliCPU(100*(1+g.IntN(5))), g.IntN(3)
	if g.IntN(2) == 0 {
		s.Partition = []string{"ml", api.DefaultPartition}[g.IntN(2)]
	}
	return &JobSet{Meta: g.meta(), ID: j.ID, Spec: &s}
}

// sharing makes a command about partitions or preemption.
func (g *generator) sharing(v *View) Command {
	t := g.anyTask(v)
	path := []string{"prod", "ml", "ml/train"}[g.IntN(3)]
	switch k := g.IntN(9); {
	case k == 0 || t == nil:
		p := &api.Partition{Path: path, Weight: api.Weight(1000 * g.IntN(3)), Policy: api.PolicyFair,
			Guarantee: api.Amounts{CPUs: api.MilliCPU(500 * g.IntN(4))}, Adjust: &api.Adjust{}}
		if v.Does(Notices) {
			p.Notice = api.Duration(g.IntN(3)) * api.Duration(20*time.Second)
		}
		return &PartitionPut{Meta: g.meta(), Partition: p}
	case k == 1:
		return &PartitionRemove{Meta: g.meta(), Path: path, Drain: g.IntN(2) == 0}
	case k == 2:
		return &PartitionAdjust{Meta: g.meta(), Path: path, Guarantee: api.Amounts{CPUs: 100}, Cause: "test"}
	case k == 3 && t.Leaving():
		return &TaskLeave{Meta: g.meta(), Victims: []Victim{{t.Job, t.Index, t.Attempt}}}
	case k == 3:
		return &TaskThaw{Meta: g.meta(), Victims: []Victim{{t.Job, t.Index, t.Attempt}}}
	case k == 4:
		return &TaskReport{Meta: g.meta(), Statuses: []api.TaskStatus{{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: api.TaskRunning, PID: 3, Frozen: true, Time: g.now}}}
	}
	return &TaskPreempt{Meta: g.meta(), Victims: []Victim{{t.Job, t.Index, t.Attempt}}, Freeze: g.IntN(2) == 0, Cause: "test"}
}

func (g *generator) anyJob(v *View) string {
	var ids []string
	for j := range v.Jobs() {
		ids = append(ids, j.ID)
	}
	if len(ids) == 0 {
		return "none"
	}
	return ids[g.IntN(len(ids))]
}

func (g *generator) anyTask(v *View) *api.Task {
	var ts []*api.Task
	for t := range v.Tasks() {
		ts = append(ts, t)
	}
	if len(ts) == 0 {
		return nil
	}
	return ts[g.IntN(len(ts))]
}

func (g *generator) place(v *View) Command {
	c := &TaskPlace{Meta: g.meta()}
	var some []*api.Task
	for range 3 {
		if t := g.anyTask(v); t != nil {
			some = append(some, t)
		}
	}
	if len(some) > 0 {
		some = slices.AppendSeq(some, v.JobTasks(some[0].Job))
	}
	for _, t := range some {
		port := int64(20000 + g.IntN(100))
		need := t.Resources
		need.Ports = api.Ranges{{First: port, Last: port}}
		c.Placements = append(c.Placements, Placement{Job: t.Job, Index: t.Index, Attempt: t.Attempt, NodeID: nodeID(g.IntN(4)),
			Resources: &need, Ports: map[string]int{"http": int(port)}})
		if g.IntN(3) == 0 {
			c.Placements[len(c.Placements)-1].Rescind = []string{fmt.Sprint("o", g.IntN(5))}
		}
	}
	return c
}

// away makes a command about a node whose daemon is away.
func (g *generator) away(v *View, n *api.Node) Command {
	t := g.anyTask(v)
	if t == nil || g.IntN(3) == 0 {
		return &NodeAway{Meta: g.meta(), ID: n.ID, State: api.NodeUnreachable, Since: n.Since}
	}
	return &NodeRelease{Meta: g.meta(), ID: n.ID, Since: n.Since, Attempts: []Victim{{t.Job, t.Index, t.Attempt}}}
}

func (g *generator) report(v *View) Command {
	t := g.anyTask(v)
	if t == nil {
		return &TaskReport{Meta: g.meta()}
	}
	code := g.IntN(3)
	s := api.TaskStatus{Task: t.ID, Attempt: t.Attempt - g.IntN(2)*g.IntN(2), NodeID: t.NodeID, State: api.TaskState(g.IntN(8)), PID: 100 + g.IntN(5), Time: g.now}
	if s.State.Final() {
		s.ExitCode = &code
	}
	if s.State.Final() && v.Does(Accounts) && code > 0 {
		s.Used = &api.TaskUse{CPUTime: 1 + g.now.UnixMilli()%1e9, MemPeak: api.Bytes(code) << 26}
	}
	if g.IntN(4) == 0 { // a start that failed
		s = api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: api.TaskFailed, Time: g.now,
			Reason: []api.Reason{api.ReasonInternal, api.ReasonStartFailed, api.ReasonDiskFull, api.ReasonPortTaken}[g.IntN(4)]}
		if v.Does(OutsideUse) && s.Reason == api.ReasonPortTaken {
			s.Taken = g.holders()
		}
	}
	return &TaskReport{Meta: g.meta(), Statuses: []api.TaskStatus{s}}
}

// holders are programs that have ports of a node.
func (g *generator) holders() []api.PortHolder {
	port := int64(20000 + g.IntN(100))
	return []api.PortHolder{{Ports: api.Ranges{{First: port, Last: port + int64(g.IntN(20))}}, By: fmt.Sprint("nginx (pid ", g.IntN(3), ")")}}
}
