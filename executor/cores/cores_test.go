package cores

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// machine has nodes of memory, each with cores of so many threads, numbered as
// is usual: the first thread of each core, then the second.
func machine(nodes, coresEach, threads int) (cpus []CPU) {
	for thread := range threads {
		for node := range nodes {
			for core := range coresEach {
				n := node*coresEach + core
				cpus = append(cpus, CPU{ID: thread*nodes*coresEach + n, Core: n, Node: node})
			}
		}
	}
	return cpus
}

func TestChoice(t *testing.T) {
	for name, c := range map[string]struct {
		cpus  []CPU
		taken []int
		n     int
		want  []int
	}{
		"the last":                           {machine(1, 4, 1), nil, 1, []int{3}},
		"one always stays":                   {machine(1, 2, 1), nil, 2, nil},
		"all but one":                        {machine(1, 2, 1), nil, 1, []int{1}},
		"none of one":                        {machine(1, 1, 1), nil, 1, nil},
		"a whole core":                       {machine(1, 4, 2), nil, 2, []int{3, 7}},
		"two cores":                          {machine(1, 4, 2), nil, 4, []int{2, 3, 6, 7}},
		"half a core breaks no whole one":    {machine(1, 4, 2), nil, 1, []int{4}},
		"what is left of a core":             {machine(1, 4, 2), []int{4, 7}, 1, []int{3}},
		"a core and a half":                  {machine(1, 4, 2), nil, 3, []int{3, 4, 7}},
		"one node":                           {machine(2, 2, 1), nil, 2, []int{2, 3}},
		"the node that is fullest":           {machine(2, 4, 1), []int{7, 6}, 2, []int{4, 5}},
		"the node that has as many":          {machine(2, 4, 1), []int{7, 6, 5}, 2, []int{2, 3}},
		"two nodes if one has not as many":   {machine(2, 2, 1), nil, 3, []int{1, 2, 3}},
		"another stays if the first is held": {machine(1, 3, 1), []int{0}, 1, []int{2}},
		"all that are left are held":         {machine(1, 2, 1), []int{0}, 1, nil},
		"none":                               {nil, nil, 1, nil},
	} {
		cores := New(nil, c.cpus)
		if c.taken != nil {
			cores.Hold("other", "other", c.taken)
		}
		if got, ok := cores.Take("a", "a", c.n); !slices.Equal(got, c.want) || ok != (c.want != nil) {
			t.Errorf("%s: %v, and not %v", name, got, c.want)
		}
	}
}

// kernel is one that takes note.
type kernel struct {
	pool []int
	own  map[string]bool
	said int
	err  error
}

func (k *kernel) Cores() []int                 { return nil }
func (k *kernel) CPUsOf(string) ([]int, error) { return nil, nil }
func (k *kernel) Share(pool []int, own map[string]bool) error {
	k.pool, k.own = pool, own
	k.said++
	return k.err
}

// The kernel is told what is left for the others, once for each change, and again
// if it did not take it.
func TestTheKernelIsToldOfEachChange(t *testing.T) {
	k := &kernel{err: errors.New("broken")}
	c := New(k, machine(1, 4, 1))
	want := func(said int, pool []int, own ...string) {
		t.Helper()
		if err := c.Settle(); !errors.Is(err, k.err) {
			t.Error(err)
		}
		if !slices.Equal(k.pool, pool) || !slices.Equal(slices.Sorted(maps.Keys(k.own)), own) || k.said != said {
			t.Errorf("the pool is %v beside %v, said %d times; and not %v beside %v, %d times", k.pool, k.own, k.said, pool, own, said)
		}
	}
	want(1, nil)
	k.err = nil
	want(2, nil)
	want(2, nil)
	c.Take("a", "p/a", 2)
	want(3, []int{0, 1}, "p/a")
	c.Hold("b", "p/b", []int{1})
	want(4, []int{0}, "p/a", "p/b")
	if !c.Give("a") || c.Give("a") {
		t.Error("a had some, once")
	}
	want(5, []int{0, 2, 3}, "p/b")
	c.Unsettle()
	want(6, []int{0, 2, 3}, "p/b")
	c.Give("b")
	want(7, nil)
}

func TestLook(t *testing.T) {
	sys := t.TempDir()
	for file, text := range map[string]string{
		"node/node0/cpulist": "0,2\n", "node/node1/cpulist": "1,3\n",
		"cpu/cpu0/topology/thread_siblings_list": "0,2\n", "cpu/cpu2/topology/thread_siblings_list": "0,2\n", "cpu/cpu1/topology/thread_siblings_list": "bad\n",
	} {
		file = filepath.Join(sys, "devices/system", file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := Look(sys, []int{3, 0, 1, 2}), []CPU{{0, 0, 0}, {1, 1, 1}, {2, 0, 0}, {3, 3, 1}}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
