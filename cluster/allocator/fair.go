package allocator

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// fairShares is the dominant share that each part is entitled to while others
// want theirs: level by level, what guarantees promise first, and the rest by
// weight, filled up evenly (max-min) so that what one does not want goes to
// the others. Nobody's is more than the nodes that it may use have.
func (t *tree) fairShares(v *fsm.View) map[*part]float64 {
	pools := map[*part]float64{}
	for path, c := range t.parts {
		pools[c] = fsm.Dominant(pool(v, path), t.capacity)
		if c.own != nil {
			pools[c.own] = pools[c]
		}
	}
	out := map[*part]float64{t.root: 1}
	t.fill(t.root, 1, pools, out)
	return out
}

func (t *tree) fill(c *part, total float64, pools, out map[*part]float64) {
	if len(c.children) == 0 {
		return
	}
	floor, ceil := make([]float64, len(c.children)), make([]float64, len(c.children))
	for i, k := range c.children {
		ceil[i] = min(total, pools[k], t.most(k))
		floor[i] = min(ceil[i], fsm.Dominant(resourcesOf(k.guarantee), t.capacity))
	}
	at := func(i int, level float64) float64 {
		return min(ceil[i], max(floor[i], level*c.children[i].weight))
	}
	low, high := 0.0, 1.0
	for _, k := range c.children {
		high = max(high, 1/k.weight)
	}
	for range 60 { // of a monotone function: bisection
		level := (low + high) / 2
		sum := 0.0
		for i := range c.children {
			sum += at(i, level)
		}
		if sum > total {
			high = level
		} else {
			low = level
		}
	}
	for i, k := range c.children {
		out[k] = at(i, low)
		t.fill(k, out[k], pools, out)
	}
}

// most is the largest share that a part can use: its limit, and what it holds
// if nothing of it waits, or no more of it may run.
func (t *tree) most(c *part) float64 {
	most := 1.0
	if c.wants == 0 || c.parent.own != c && c.p.MaxRunning > 0 && c.runs >= c.p.MaxRunning {
		most = fsm.Dominant(c.used, t.capacity)
	}
	for name, v := range c.limit.Each {
		if whole := amountOf(t.capacity, name); whole > 0 {
			most = min(most, float64(v)/float64(whole))
		}
	}
	return most
}

func resourcesOf(a api.Amounts) api.Resources {
	r := api.Resources{CPUs: a.CPUs, Mem: a.Mem, Disk: a.Disk, GPUs: a.GPUs}
	for k, v := range a.Custom {
		if r.Custom == nil {
			r.Custom = map[string]api.Quantity{}
		}
		r.Custom[k] = api.Quantity{Scalar: int64(v)}
	}
	return r
}
