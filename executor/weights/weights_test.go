package weights

import (
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"syscall"
	"testing"

	"github.com/mesita/mesita/isolation"
)

// groups is a kernel: what each group has that there is.
type groups map[string]given

type given struct {
	weight       uint64
	memory, most int64
}

func (g groups) set(group string, how func(*given)) error {
	now, ok := g[group]
	if !ok {
		return os.ErrNotExist
	}
	how(&now)
	g[group] = now
	return nil
}

func (groups) LimitCPU(string, int64) error { return nil }
func (groups) Limited() ([]string, error)   { return nil, nil }

func (g groups) Weigh(group string, weight uint64) error {
	return g.set(group, func(n *given) { n.weight = weight })
}

func (g groups) Protect(group string, memory int64) error {
	return g.set(group, func(n *given) { n.memory = memory })
}

func (g groups) LimitMemory(memory int64) error { return g.set("", func(n *given) { n.most = memory }) }

// overtaxed is a kernel that takes nothing now and then.
type overtaxed struct {
	groups
	rnd *rand.Rand
}

func (o overtaxed) perhaps(do func() error) error {
	if o.rnd.IntN(3) == 0 {
		return syscall.EMFILE
	}
	return do()
}

func (o overtaxed) Weigh(group string, weight uint64) error {
	return o.perhaps(func() error { return o.groups.Weigh(group, weight) })
}

func (o overtaxed) Protect(group string, memory int64) error {
	return o.perhaps(func() error { return o.groups.Protect(group, memory) })
}

func (o overtaxed) LimitMemory(memory int64) error {
	return o.perhaps(func() error { return o.groups.LimitMemory(memory) })
}

// Groups carry what the tasks in them add up to, whatever happened before and the
// kernel did not take at first, and each task what it was given.
func TestGroupsCarryTheSumOfWhatRunsInThem(t *testing.T) {
	node := Share{CPUs: 4000, Mem: 1000}
	rnd := rand.New(rand.NewPCG(1, 2))
	kernel := groups{"": {}}
	w := New(node, overtaxed{kernel, rnd})
	w.Whole()
	now := map[string]Share{}
	for range 2000 {
		part := []string{"a", "a/b", "c"}[rnd.IntN(3)]
		slice := part + "/job" + strconv.Itoa(rnd.IntN(3)) + "/" + strconv.Itoa(rnd.IntN(4))
		s := Share{CPUs: int64(rnd.IntN(5)) * 50, Mem: int64(rnd.IntN(5)) * 10} // none of the CPU is of one that is frozen
		if rnd.IntN(200) == 0 {
			s.MemExtra = 7
		}
		if now[slice] = s; s == (Share{}) {
			delete(now, slice)
		}
		w.Set(slice, s, 0)
		for g := slice; g != "."; g = path.Dir(g) {
			if _, ok := kernel[g]; !ok {
				kernel[g] = given{} // made anew, as the kernel makes it
			}
		}
		if rnd.IntN(4) != 0 {
			continue
		}
		for w.Write() != nil { // nothing is lost by that
		}
		sums := map[string]Share{}
		var all Share
		for s, c := range now {
			for g := s; g != "."; g = path.Dir(g) {
				sums[g] = sums[g].add(c)
			}
			all = all.add(c)
		}
		for g := range maps.Keys(kernel) {
			if sums[g] == (Share{}) && g != "" {
				delete(kernel, g) // the last task of it took it along
			}
		}
		for g, sum := range sums {
			if got, want := kernel[g], (given{weight: isolation.Weight(sum.CPUs, node.CPUs), memory: sum.Mem}); got != want {
				t.Fatalf("%s has %+v for %+v of %+v, and not %+v", g, got, sum, node, want)
			}
		}
		want := given{weight: 400, memory: all.Mem}
		if all.MemExtra > 0 { // somebody may use more than is set aside for it
			want.most = max(node.Mem, all.Mem)
		}
		if kernel[""] != want {
			t.Fatalf("the top slice of 4 CPUs has %+v for %+v, and not %+v", kernel[""], all, want)
		}
	}
	for s := range now {
		w.Set(s, Share{}, 0)
	}
	if len(w.tasks)+len(w.sums) != 0 {
		t.Errorf("something is left of tasks that ended: %v, %v", w.tasks, w.sums)
	}
}

// refuses is a kernel that does not take one of the three.
type refuses string

func (r refuses) take(what string) error {
	if string(r) == what {
		return errors.New("read-only")
	}
	return nil
}

func (r refuses) Weigh(string, uint64) error  { return r.take("weight") }
func (r refuses) Protect(string, int64) error { return r.take("protection") }
func (r refuses) LimitMemory(int64) error     { return r.take("bound") }
func (refuses) LimitCPU(string, int64) error  { return nil }
func (refuses) Limited() ([]string, error)    { return nil, nil }

func TestWhatIsRefusedIsTold(t *testing.T) {
	for _, what := range []refuses{"weight", "protection", "bound"} {
		w := New(Share{CPUs: 1000}, what)
		w.Whole()
		if err := w.Write(); err == nil {
			t.Errorf("a kernel that refuses the %s was not told of", string(what))
		}
	}
}

// Until all that runs is known, what it may use together is not bounded: tasks
// of a node that came back smaller would be killed.
func TestNothingIsBoundedBeforeAllIsKnown(t *testing.T) {
	kernel := groups{"": {most: 5000}, "a": {}}
	w := New(Share{CPUs: 1000, Mem: 1000}, kernel)
	w.Set("a", Share{Mem: 800, MemExtra: 1}, 0)
	if err := w.Write(); err != nil || kernel[""].most != 5000 {
		t.Errorf("%v, %+v", err, kernel)
	}
	w.Set("a", Share{Mem: 1200, MemExtra: 1}, 0)
	if due := w.Whole(); due {
		t.Error("something was to be written anyway")
	}
	if err := w.Write(); err != nil || kernel[""].most != 1200 {
		t.Errorf("%v, %+v", err, kernel)
	}
}
