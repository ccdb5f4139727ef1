package scheduler_test

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// bounded submits a job of one task that ends after what it takes, and by its bound.
func (m *machine) bounded(partition string, cpus, takes, bound int) string {
	m.t.Helper()
	s := &api.JobSpec{Kind: api.KindBatch, Partition: partition, TaskSpec: api.TaskSpec{Command: []string{"x"}, Time: api.Duration(bound) * api.Duration(time.Minute),
		Placing: api.Placing{Request: api.Request{CPUs: api.MilliCPU(cpus) * 1000, Mem: 1 << 20}}}}
	s.Normalize()
	id := m.do(&fsm.JobCreate{Meta: m.meta(), Spec: s}).(*api.Job).ID
	m.takes[id] = time.Duration(takes) * time.Minute
	return id
}

// limited is a limit, and that much guaranteed too if it is to be.
func limited(path string, cpus int, guaranteed bool) *api.Partition {
	p := &api.Partition{Path: path, Preempt: api.PreemptNever, Limit: api.Amounts{CPUs: api.MilliCPU(cpus) * 1000}}
	if guaranteed {
		p.Guarantee = p.Limit
	}
	return p
}

// No first job starts later than it was promised where limits at two levels bound
// it: beside what runs in another partition already, whatever comes in its own; and
// beside what comes in another one, if its guarantee covers it.
func TestLimitsAtTwoLevelsKeepPromises(t *testing.T) {
	draw.Check(t, func(rt *rapid.T) {
		whole := rapid.IntRange(2, 8).Draw(rt, "limit above")
		own := rapid.IntRange(1, whole).Draw(rt, "limit")
		m := newMachine(t, limited("top", whole, true), limited("top/a", own, true))
		m.do(&fsm.PartitionPut{Meta: m.meta(), Partition: limited("top/b", rapid.IntRange(1, whole).Draw(rt, "limit of the other"), false)})
		submit := func(path string, widest int) string {
			takes := rapid.IntRange(1, 8).Draw(rt, "takes")
			return m.bounded(path, rapid.IntRange(1, widest).Draw(rt, "cpus"), takes, takes+rapid.IntRange(0, 4).Draw(rt, "more"))
		}
		promised := map[string]time.Time{}
		guaranteed := rapid.Bool().Draw(rt, "guaranteed")
		for minute := range 40 {
			for range rapid.IntRange(0, 2).Draw(rt, "jobs") {
				if guaranteed || minute < 5 {
					submit("top/b", 2)
				}
				a, b := m.View().Usage("top/a"), m.View().Usage("top/b")
				if minute >= 5 && (guaranteed && a.Pending == 0 && a.Allocated.CPUs == 0 || !guaranteed && b.Pending == 0) {
					promised[submit("top/a", own)] = time.Time{}
				}
			}
			m.minute()
			now := m.engine.Promised()
			for id, at := range promised {
				switch {
				case !m.View().TaskOf(id, 0).Pending():
					delete(promised, id)
				case at.IsZero():
					promised[id] = now[id]
				case m.now.After(at):
					rt.Fatalf("job %s was promised %s, and waits at %s", id, at, m.now)
				}
			}
			if used := m.View().Usage("top/a").Allocated.Add(m.View().Usage("top/b").Allocated); used.CPUs > api.MilliCPU(whole)*1000 {
				rt.Fatalf("%s are held below a limit of %d", used.CPUs, whole)
			}
		}
	})
}

// A wide task starts once what runs below the limit above its partition has ended,
// though the partition beside, which weights put behind it, always has narrow ones.
func TestALimitAboveStarvesNoWideTask(t *testing.T) {
	m := newMachine(t, limited("ml", 4, false), &api.Partition{Path: "ml/train", Preempt: api.PreemptNever})
	m.do(&fsm.PartitionPut{Meta: m.meta(), Partition: &api.Partition{Path: "ml/eval", Preempt: api.PreemptNever}})
	for _, path := range []string{"ml/train", "ml/eval"} {
		m.bounded(path, 1, 5, 5)
	}
	m.pass()
	wide := m.bounded("ml/train", 4, 1, 1)
	m.pass()
	narrow := ""
	if at := m.starts(wide, 60, func(int) { narrow = m.bounded("ml/eval", 1, 5, 5) }); at < 5 || at > 11 {
		t.Errorf("it starts after %d minutes, where none takes more than 5", at)
	}
	if !m.View().TaskOf(narrow, 0).Pending() {
		t.Error("another started beside it, above the limit")
	}
}

// Below a limit that several partitions fill something runs, or nothing waits: what is
// kept for the first jobs of two never keeps both out.
func TestALimitNeverStandsEmpty(t *testing.T) {
	r := draw.Rand(t)
	weight := func() api.Weight { return api.Weight(1000 * (1 + r.IntN(4))) }
	for range 30 {
		m := newMachine(t, limited("ml", 4, false), &api.Partition{Path: "ml/a", Preempt: api.PreemptNever, Weight: weight()})
		parts := []string{"ml/a", "ml/b", "ml/c"}[:2+r.IntN(2)]
		for _, p := range parts[1:] {
			m.do(&fsm.PartitionPut{Meta: m.meta(), Partition: &api.Partition{Path: p, Preempt: api.PreemptNever, Weight: weight()}})
		}
		for minute, empty := 0, 0; minute < 400; minute++ {
			for _, p := range parts {
				if minute < 60 && r.IntN(4) == 0 {
					takes := 1 + r.IntN(20)
					m.bounded(p, 1+r.IntN(4), takes, takes)
				}
			}
			m.minute()
			used, waiting := 0, 0
			for _, p := range parts {
				u := m.View().Usage(p)
				used, waiting = used+int(u.Allocated.CPUs), waiting+u.Pending
			}
			if empty++; used > 0 || waiting == 0 {
				empty = 0
			}
			if empty > 1 {
				t.Fatalf("minute %d: %d tasks wait, and nothing runs", minute, waiting)
			}
		}
	}
}
