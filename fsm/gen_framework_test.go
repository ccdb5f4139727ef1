package fsm

import (
	"fmt"

	"github.com/mesita/mesita/api"
)

func frameworkID(i int) string { return fmt.Sprint("framework-", i) }

// framework makes a command about one of a few frameworks, which connect, take offers,
// acknowledge, lose their connection and are removed.
func (g *generator) framework(v *View) Command {
	id := frameworkID(g.IntN(3))
	f := v.Framework(id)
	session := fmt.Sprint("s", g.IntN(2))
	if f != nil && g.IntN(4) > 0 {
		session = f.Session
	}
	switch k := g.IntN(12); {
	case f == nil || k == 0:
		in := [][]string{{api.DefaultPartition}, {"ml"}, {api.DefaultPartition, "ml/train"}}[g.IntN(3)]
		return &FrameworkPut{Meta: g.user(), Connect: k > 0 || g.IntN(2) == 0, KeepOffers: g.IntN(2) == 0,
			Framework: &api.Framework{ID: id, Name: "Example Framework (Go)", Partitions: in, Session: session, Failover: api.Duration(g.IntN(2)) * 60e9}}
	case k == 1:
		return &FrameworkLeave{Meta: g.meta(), ID: id, Session: session}
	case k == 2 && g.IntN(4) == 0:
		return &FrameworkRemove{Meta: g.meta(), ID: id, Session: []string{"", session}[g.IntN(2)]}
	case k == 3:
		c := &FrameworkKill{Meta: g.meta(), Framework: id, Task: g.taskID()}
		if g.IntN(2) == 0 {
			c.Grace = new(api.Duration(g.IntN(5)))
		}
		return c
	case k < 7:
		c := &FrameworkAck{Meta: g.meta(), Framework: id}
		for n := range v.FrameworkNews(id) {
			c.Acks = append(c.Acks, Ack{n.Job, n.Index, n.Updates[min(len(n.Updates)-1, g.IntN(2))].ID})
		}
		return c
	case k == 7 && len(f.Partitions) > 0:
		return &OfferMake{Meta: g.meta(), Offers: []*api.Offer{{ID: fmt.Sprint("o", g.IntN(5)), Framework: id, NodeID: nodeID(g.IntN(4)),
			Partition: f.Partitions[g.IntN(len(f.Partitions))], Resources: api.Resources{CPUs: 500, Mem: 64 << 20}}}}
	}
	c := &FrameworkAccept{Meta: g.meta(), Framework: id, Session: session}
	var node string
	for o := range v.Offers() {
		if o.Framework == id && (node == "" || node == o.NodeID) && g.IntN(3) > 0 || g.IntN(20) == 0 {
			node = o.NodeID
			c.Offers = append(c.Offers, o.ID)
		}
	}
	for range g.IntN(4) {
		c.Tasks = append(c.Tasks, FrameworkLaunch{Task: &api.FrameworkTask{ID: g.taskID(), Name: "example", Spec: testSpec(api.KindBatch, "", 1)},
			Resources: api.Resources{CPUs: api.MilliCPU(100 * (1 + g.IntN(4))), Mem: 16 << 20}})
	}
	return c
}

func (g *generator) taskID() string { return fmt.Sprint("t", g.IntN(6)) }

// frameworks holds of a view: what frameworks have is theirs, and each index that follows
// from rows has what a look at all of them finds.
func frameworks(fatal func(string, ...any), v *View) {
	for o := range v.Offers() {
		if !v.Does(Frameworks) {
			break
		}
		if f := v.Framework(o.Framework); o.Framework != "" && f != nil && (!f.Connected || !f.In(o.Partition)) {
			fatal("index %d: offer %s is of framework %s, which takes none in %s", v.Index(), o.ID, o.Framework, o.Partition)
		}
	}
	active := map[string]string{}
	for t := range v.Tasks() {
		if t.Framework == nil {
			continue
		}
		j, f := v.Job(t.Job), v.Framework(t.Framework.Framework)
		if j.Framework != t.Framework.Framework || j.Spec.Kind != api.KindFramework || t.Pending() || t.Attempt != 1 {
			fatal("index %d: task %s of a framework is of job %+v, or tried again", v.Index(), t.ID, j)
		}
		if last := v.FrameworkTask(t.Framework.Framework, t.Framework.ID); last == nil || !t.State.Final() && last.ID != t.ID {
			fatal("index %d: task %s is not what its framework has by its id %s", v.Index(), t.ID, t.Framework.ID)
		}
		if key := t.Framework.Framework + "/" + t.Framework.ID; !t.State.Final() {
			if other := active[key]; other != "" {
				fatal("index %d: tasks %s and %s have one id", v.Index(), t.ID, other)
			}
			active[key] = t.ID
		}
		if f != nil && !f.Ended.IsZero() && t.Desired != api.DesiredStop && !t.State.Final() {
			fatal("index %d: task %s runs on without its framework", v.Index(), t.ID)
		}
	}
	all := 0
	for f := range v.Frameworks() {
		if f.Ended.IsZero() {
			all++
		}
		for n := range v.FrameworkNews(f.ID) {
			if len(n.Updates) == 0 || len(n.Updates) > api.MaxFrameworkUpdates || !f.Ended.IsZero() {
				fatal("index %d: framework %s has %d updates of task %s", v.Index(), f.ID, len(n.Updates), n.Task)
			}
			if t := v.TaskOf(n.Job, n.Index); t == nil || n.Updates[len(n.Updates)-1].State != t.State {
				fatal("index %d: the last update of task %s.%d is not its state", v.Index(), n.Job, n.Index)
			}
		}
	}
	if all != v.FrameworkCount() {
		fatal("index %d: %d frameworks, the count says %d", v.Index(), all, v.FrameworkCount())
	}
}
