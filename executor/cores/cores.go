// Package cores owns which CPUs of a node are tasks' own, and keeps all other
// tasks off them. It chooses them: threads of the same core and CPUs of one NUMA
// node together, and never all. It knows nothing of what tasks are, writes no
// journal, and lets no process run anywhere: package isolation does, which the
// executor hands it.
package cores

import (
	"slices"
	"sync"

	"github.com/mesita/mesita/isolation"
)

// CPU is one as the kernel counts them, with what it is part of.
type CPU struct {
	ID   int
	Core int // the same for threads of one
	Node int // of memory
}

// Kernel keeps groups of processes to CPUs: an isolation.Host. See there.
type Kernel interface {
	Cores() []int
	Share(pool []int, own map[string]bool) error
	CPUsOf(slice string) ([]int, error)
}

// Cores are those of one node. It is safe for concurrent use.
type Cores struct {
	kernel Kernel
	cpus   []CPU // in the order of their ids

	settle sync.Mutex // one change of the kernel's at a time, so that the newest stays
	mu     sync.Mutex
	own    map[string]held // by attempt
	gen    uint64          // raised with each change
	kept   uint64          // the generation that the kernel keeps to
}

type held struct {
	slice string
	cpus  []int
}

// New is for the CPUs of a machine; without a kernel none can be given.
func New(kernel Kernel, cpus []CPU) *Cores {
	return &Cores{kernel: kernel, cpus: cpus, own: map[string]held{}, gen: 1}
}

// Take gives an attempt n CPUs of its own, if there are so many; one always
// stays for the others. Nobody is kept off them before Settle.
func (c *Cores) Take(id, slice string, n int) (cpus []int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.own, id)
	if cpus = choose(c.free(), n); cpus == nil {
		return nil, false
	}
	c.own[id] = held{slice, cpus}
	c.gen++
	return cpus, true
}

// Hold says that an attempt has CPUs already.
func (c *Cores) Hold(id, slice string, cpus []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own[id] = held{slice, cpus}
	c.gen++
}

// Give takes back what an attempt had, and reports whether it had any.
func (c *Cores) Give(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.own[id]; !ok {
		return false
	}
	delete(c.own, id)
	c.gen++
	return true
}

// Taken reports whether any CPU is an attempt's own, and as of which change.
func (c *Cores) Taken() (gen uint64, any bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gen, len(c.own) > 0
}

// Unsettle says that the kernel may not keep to what was last said: something
// began meanwhile that did not know.
func (c *Cores) Unsettle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
}

// Settle has the kernel keep to what was taken, held and given until now.
func (c *Cores) Settle() error {
	if c.kernel == nil {
		return nil
	}
	c.settle.Lock()
	defer c.settle.Unlock()
	c.mu.Lock()
	gen := c.gen
	if gen == c.kept {
		c.mu.Unlock()
		return nil
	}
	var pool []int
	own := make(map[string]bool, len(c.own))
	if len(c.own) > 0 {
		taken := c.taken()
		for _, cpu := range c.cpus {
			if !taken[cpu.ID] {
				pool = append(pool, cpu.ID)
			}
		}
		for _, h := range c.own {
			own[h.slice] = true
		}
	}
	c.mu.Unlock()
	if err := c.kernel.Share(pool, own); err != nil {
		return err
	}
	c.mu.Lock()
	c.kept = gen
	c.mu.Unlock()
	return nil
}

// Of is what the kernel keeps a slice to; nil: nobody knows.
func (c *Cores) Of(slice string) []int {
	if c.kernel == nil {
		return nil
	}
	cpus, err := c.kernel.CPUsOf(slice)
	if err != nil {
		return nil
	}
	return cpus
}

// List is how CPUs are told to the kernel.
func List(cpus []int) string { return isolation.CPUList(cpus) }

func (c *Cores) taken() map[int]bool {
	taken := map[int]bool{}
	for _, h := range c.own {
		for _, id := range h.cpus {
			taken[id] = true
		}
	}
	return taken
}

// free are those that can be given: the first stays, which the machine itself
// uses most, and another does instead if somebody has it.
func (c *Cores) free() []CPU {
	taken := c.taken()
	free := slices.DeleteFunc(slices.Clone(c.cpus), func(cpu CPU) bool { return taken[cpu.ID] })
	if len(free) == 0 {
		return nil
	}
	return free[1:]
}

// choose returns n of the free CPUs, in order; nil: there are not so many. They
// are of one NUMA node if any has so many: of the fullest. Otherwise of as few
// as there can be.
func choose(free []CPU, n int) (ids []int) {
	if n <= 0 || n > len(free) {
		return nil
	}
	nodes := map[int][]CPU{}
	for _, c := range free {
		nodes[c.Node] = append(nodes[c.Node], c)
	}
	for len(ids) < n {
		best := -1
		for node, cpus := range nodes {
			if best < 0 || better(len(cpus), len(nodes[best]), n-len(ids), node > best) {
				best = node
			}
		}
		ids = append(ids, ofNode(nodes[best], n-len(ids))...)
		delete(nodes, best)
	}
	slices.Sort(ids)
	return ids
}

// better reports whether a part with a CPUs serves a need better than one with b:
// the smallest that has all, or else the largest; of equals the later.
func better(a, b, need int, later bool) bool {
	switch {
	case a == b:
		return later
	case a >= need && b >= need:
		return a < b
	}
	return a > b
}

// ofNode returns up to n CPUs of one NUMA node: whole cores first, and for what
// is left the core that loses least.
func ofNode(free []CPU, n int) (ids []int) {
	cores := map[int][]int{}
	for _, c := range free {
		cores[c.Core] = append(cores[c.Core], c.ID)
	}
	for n > 0 && len(cores) > 0 {
		best := -1
		for core, threads := range cores {
			if best < 0 || fits(len(threads), len(cores[best]), n, core > best) {
				best = core
			}
		}
		take := cores[best][:min(n, len(cores[best]))]
		ids, n = append(ids, take...), n-len(take)
		delete(cores, best)
	}
	return ids
}

// fits reports whether a core with a free threads is to be taken before one with
// b: the largest that is needed as a whole, or else the smallest.
func fits(a, b, n int, later bool) bool {
	switch {
	case a == b:
		return later
	case a <= n && b <= n:
		return a > b
	}
	return a < b
}
