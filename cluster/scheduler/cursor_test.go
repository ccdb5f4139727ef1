package scheduler

import (
	"fmt"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// A cursor that skips users gives what is left in the same order as one that looks at
// each job and leaves those out, whenever they are skipped and whatever came and went
// before.
func TestSkippedUsersAreLeftOut(t *testing.T) {
	v := bigCluster(t, 1).View()
	draw.Check(t, func(t *rapid.T) {
		part := &api.Partition{Path: "p", Policy: rapid.SampledFrom([]api.Policy{api.PolicyFIFO, api.PolicyPriority, api.PolicyFair}).Draw(t, "policy")}
		q := newQueue(part, true)
		var all []*entry
		for i := range rapid.IntRange(0, 40).Draw(t, "jobs") {
			j := &api.Job{ID: fmt.Sprint(i), Seq: uint64(i), Actor: fmt.Sprint("u", rapid.IntRange(0, 4).Draw(t, "user")), Spec: &api.JobSpec{Priority: rapid.IntRange(0, 3).Draw(t, "priority")}}
			e := &entry{job: j, seq: j.Seq}
			q.put(v, e, 0)
			if all = append(all, e); rapid.IntRange(0, 3).Draw(t, "goes") == 0 {
				at := rapid.IntRange(0, len(all)-1).Draw(t, "which")
				q.remove(all[at])
				all = append(all[:at:at], all[at+1:]...)
			}
		}
		use := func(user string) float64 { return float64(len(user)) + float64(user[1]%3) }
		fast, slow, barred := newCursor(q, use), newCursor(q, use), map[string]bool{}
		for {
			got, want := fast.next(), slow.next()
			for want != nil && barred[want.job.Owner()] {
				want = slow.next()
			}
			if got != want {
				t.Fatalf("%v comes next, not %v, without those of %v", got, want, barred)
			}
			if got == nil {
				return
			}
			if rapid.IntRange(0, 4).Draw(t, "bar") == 0 {
				barred[got.job.Owner()] = true
				fast.skip(got.job.Owner())
			}
		}
	})
}

// BenchmarkBarredBacklog is a pass while as many run of a user as may, of
// whom so many jobs wait before those of another.
func BenchmarkBarredBacklog(b *testing.B) {
	for _, policy := range []api.Policy{api.PolicyFIFO, api.PolicyFair} {
		for _, jobs := range []int{1000, 100_000} {
			b.Run(fmt.Sprintf("%s/jobs=%d", policy, jobs), func(b *testing.B) {
				s := bigCluster(b, 50)
				do(b, s, &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: &api.Partition{Path: "p", Policy: policy, TaskRules: api.TaskRules{MaxRunningPerUser: 10}}})
				var cmds []fsm.Command
				for i := range jobs + 20 {
					spec := &api.JobSpec{Kind: api.KindBatch, Partition: "p", TaskSpec: api.TaskSpec{Command: []string{"x"}, Placing: api.Placing{Request: api.Request{CPUs: 100, Mem: 1 << 20}}}}
					spec.Normalize()
					c := &fsm.JobCreate{Meta: fsm.Meta{At: t0, Actor: "ada"}, Spec: spec}
					if i >= jobs {
						c.Actor = "bob"
					}
					cmds = append(cmds, c)
				}
				do(b, s, cmds...)
				e := NewEngine(begin)
				e.Update(s.View(), nil, true)
				first, _ := e.Decide(t0)
				do(b, s, first...)
				e.Update(s.View(), nil, true)
				for b.Loop() {
					if cmds, _ := e.Decide(t0); len(cmds) > 0 {
						b.Fatal("more start than may")
					}
				}
			})
		}
	}
}
