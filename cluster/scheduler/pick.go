package scheduler

import (
	"hash/fnv"

	"github.com/mesita/mesita/api"
)

// pick finds the slot for a task, passing by room that is held for others.
func (p *pass) pick(t *turn, u *unit) int {
	t.seat.Sync()
	if t.q.part.Placement == api.PlacePack {
		if i := p.planned(t, u); i >= 0 {
			return i
		}
	}
	for {
		i := t.seat.Best(u.index, u.attempt)
		if i >= 0 && !p.mayUse(t, i, u.need) {
			t.seat.Bar(i)
			continue
		}
		if i < 0 && !t.seat.Barred() {
			t.seat.Class.Full()
		}
		if t.packed != nil {
			t.packed.loose = i
		}
		return i
	}
}

// pickPorts chooses numbers for the ports that may be any. It begins at a
// place that depends on the attempt, so that a port just given back is not the
// first to be used again.
func pickPorts(spec *api.JobSpec, job string, u *unit, free api.Ranges) (map[string]int, api.Ranges) {
	ports := make(map[string]int, len(spec.Ports))
	var taken api.Ranges
	for _, p := range spec.Ports {
		if p.Port != 0 {
			ports[p.Name] = p.Port
			taken = taken.Union(api.Ranges{{First: int64(p.Port), Last: int64(p.Port)}})
		}
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(api.TaskID(job, u.index))) // a hash never fails
	start := int64(h.Sum32()) + int64(u.attempt)*7919
	for _, p := range spec.Ports {
		if p.Port != 0 {
			continue
		}
		left := free.Minus(taken)
		n := nth(left, start%left.Count())
		ports[p.Name] = int(n)
		taken = taken.Union(api.Ranges{{First: n, Last: n}})
	}
	return ports, taken
}

// nth is the i-th number of r, counted from 0.
func nth(r api.Ranges, i int64) int64 {
	for _, x := range r {
		if n := x.Last - x.First + 1; i < n {
			return x.First + i
		} else {
			i -= n
		}
	}
	return 0
}
