package weights

import (
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"testing"

	"github.com/mesita/mesita/isolation"
)

// groups is a kernel: the weight of each group that there is.
type groups map[string]uint64

func (groups) LimitCPU(string, int64) error { return nil }
func (groups) Limited() ([]string, error)   { return nil, nil }

func (g groups) Weigh(group string, weight uint64) error {
	if _, ok := g[group]; !ok {
		return os.ErrNotExist
	}
	g[group] = weight
	return nil
}

// Groups carry what the tasks in them add up to, whatever happened before, and
// each task what it was given.
func TestGroupsCarryTheSumOfWhatRunsInThem(t *testing.T) {
	const node = 4000
	rnd := rand.New(rand.NewPCG(1, 2))
	kernel := groups{"": 100}
	w := New(node, kernel)
	now := map[string]int64{}
	for range 2000 {
		part := []string{"a", "a/b", "c"}[rnd.IntN(3)]
		slice := part + "/job" + strconv.Itoa(rnd.IntN(3)) + "/" + strconv.Itoa(rnd.IntN(4))
		cpus := int64(rnd.IntN(5)) * 50
		if now[slice] = cpus; cpus == 0 {
			delete(now, slice)
		}
		w.Set(slice, cpus, 0)
		for g := slice; g != "."; g = path.Dir(g) {
			if _, ok := kernel[g]; !ok {
				kernel[g] = 100 // made anew, as the kernel makes it
			}
		}
		if rnd.IntN(4) != 0 {
			continue
		}
		if err := w.Write(); err != nil {
			t.Fatal(err)
		}
		sums := map[string]int64{}
		for s, c := range now {
			for g := s; g != "."; g = path.Dir(g) {
				sums[g] += c
			}
		}
		for g := range maps.Keys(kernel) {
			if sums[g] == 0 && g != "" {
				delete(kernel, g) // the last task of it took it along
			}
		}
		for g, sum := range sums {
			if got, want := kernel[g], isolation.Weight(sum, node); got != want {
				t.Fatalf("%s has %d for %d of %d, and not %d", g, got, sum, node, want)
			}
		}
		if kernel[""] != 400 {
			t.Fatalf("the top slice of 4 CPUs has %d", kernel[""])
		}
	}
	for s := range now {
		w.Set(s, 0, 0)
	}
	if len(w.tasks)+len(w.sums) != 0 {
		t.Errorf("something is left of tasks that ended: %v, %v", w.tasks, w.sums)
	}
}

type refuses struct{ groups }

func (refuses) Weigh(string, uint64) error { return errors.New("read-only") }

func TestAWeightThatIsRefusedIsTold(t *testing.T) {
	if err := New(1000, refuses{}).Write(); err == nil {
		t.Error("a kernel that refuses was not told of")
	}
}
