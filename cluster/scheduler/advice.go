package scheduler

import (
	"maps"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// maxResumes bounds the draining nodes that are tried.
const maxResumes = 8

// remedies lists what would start the task in the next pass, each by itself.
// Nothing is in it that was not tried, and less of it was tried, too.
func (w *waiting) remedies() (out []api.Remedy) {
	add := func(r *api.Remedy) {
		if r != nil {
			out = append(out, *r)
		}
	}
	if w.t.Version == w.j.Version {
		add(w.sooner())
		for _, r := range w.less() {
			add(&r)
		}
		add(w.fewer())
		add(w.firster())
	}
	add(w.higher())
	add(w.raised())
	add(w.guaranteed())
	for _, r := range w.resumed() {
		add(&r)
	}
	return out
}

// settable names the job in what `job set` does.
func (w *waiting) settable(all []api.Remedy) []api.Remedy {
	if !w.view.Does(fsm.WaitingChanges) || w.j.Spec.Kind != api.KindBatch {
		return all
	}
	for i := range all {
		if _, ok := all[i].Set(); ok {
			all[i].Job = w.j.ID
		}
	}
	return all
}

// sooner is the longest --time with which the task is backfilled.
func (w *waiting) sooner() *api.Remedy {
	var last time.Time
	for _, h := range w.pass.e.holds {
		last = later(last, h.At)
	}
	for _, q := range w.pass.e.quotas {
		last = later(last, q.At)
	}
	if w.j.Spec.Kind != api.KindBatch || last.IsZero() {
		return nil
	}
	within := func(seconds int64) api.Duration { return api.Duration(seconds) * api.Duration(time.Second) }
	starts := func(n int64) bool {
		return w.tries.starts(w.tries.asks(w.j.Spec, func(s *api.JobSpec) { s.Time = within(n) }))
	}
	own := int64(time.Duration(w.j.Spec.Time) / time.Second) // with which it waits
	bad := int64(last.Sub(w.now)/time.Second) + 1
	const most64 = int64(30 * 24 * time.Hour / time.Second) // who asks for more asks for any
	for bad < own || own == 0 {                             // with another time it may be passed by those that are held now
		if !starts(bad) {
			break
		}
		if bad *= 2; bad > most64 && own == 0 {
			return nil // any time has it go first, and none is its own
		}
	}
	if own > 0 {
		bad = min(bad, own)
	}
	n := most(bad, starts)
	if n == 0 {
		return nil
	}
	return &api.Remedy{Kind: api.RemedyTime, Time: within(n)}
}

// knob is one amount that a task asks for.
type knob struct {
	name string
	step int64 // in which people ask for it
	now  int64
	low  int64 // the least that may be asked for
	set  func(s *api.JobSpec, v int64)
}

func knobs(s *api.JobSpec) []knob {
	const mib = 1 << 20
	all := []knob{
		{"cpus", 1, int64(s.CPUs), 0, func(s *api.JobSpec, v int64) { s.CPUs = api.MilliCPU(v) }},
		{"mem", mib, int64(s.Mem), 0, func(s *api.JobSpec, v int64) { s.Mem = api.Bytes(v) }},
		{"memLimit", mib, int64(s.MemLimit), int64(s.Mem), func(s *api.JobSpec, v int64) { s.MemLimit = api.Bytes(v) }},
		{"disk", mib, int64(s.Disk), 0, func(s *api.JobSpec, v int64) { s.Disk = api.Bytes(v) }},
		{"gpus", 1, s.GPUs, 0, func(s *api.JobSpec, v int64) { s.GPUs = v }},
	}
	if s.Pin {
		all[0].step = 1000
	}
	for _, name := range slices.Sorted(maps.Keys(s.Custom)) {
		all = append(all, knob{name, 1, s.Custom[name].Scalar, 0, func(s *api.JobSpec, v int64) {
			s.Custom = maps.Clone(s.Custom)
			s.Custom[name] = api.Quantity{Scalar: v}
		}})
	}
	return slices.DeleteFunc(all, func(k knob) bool { return k.now <= k.step })
}

// less is what to ask for instead: the most of one resource that starts or,
// where that is not enough, of several.
func (w *waiting) less() (out []api.Remedy) {
	all := knobs(w.j.Spec)
	for _, k := range all {
		if v := w.shrink(w.j.Spec, k); v > 0 {
			out = append(out, w.request(map[string]int64{k.name: v}))
		}
	}
	if len(out) > 0 || len(all) < 2 {
		return out
	}
	// Several: all as small as may be, then one after the other as large as may be.
	s := *w.j.Spec
	for _, k := range all {
		k.set(&s, max(k.step, k.low))
	}
	if !w.tries.starts(w.tries.asks(&s, func(*api.JobSpec) {})) {
		return nil
	}
	want := map[string]int64{}
	for _, k := range all {
		full := s
		if k.set(&full, k.now); w.tries.starts(w.tries.asks(&full, func(*api.JobSpec) {})) {
			s = full
			continue
		}
		v := w.shrink(&s, k)
		if v == 0 {
			return nil // there is nothing more to be spent
		}
		k.set(&s, v)
		want[k.name] = v
	}
	return []api.Remedy{w.request(want)}
}

// shrink is the most of one resource with which a spec starts, 0 if it does not.
func (w *waiting) shrink(s *api.JobSpec, k knob) int64 {
	n := most((k.now+k.step-1)/k.step, func(n int64) bool {
		return w.tries.starts(w.tries.asks(s, func(s *api.JobSpec) { k.set(s, max(n*k.step, k.low)) }))
	})
	if n == 0 {
		return 0
	}
	return max(n*k.step, k.low)
}

func (w *waiting) request(want map[string]int64) api.Remedy {
	r := api.Remedy{Kind: api.RemedyRequest}
	if w.j.Spec.Gang == 0 {
		r.Node = w.tries.on
	}
	for name, v := range want {
		if name == "memLimit" {
			r.MemLimit = api.Bytes(v)
		} else {
			r.Request = r.Request.With(name, v)
		}
	}
	return r
}

// fewer is the largest gang that starts.
func (w *waiting) fewer() *api.Remedy {
	g := w.j.Spec.Gang
	if g < 2 || w.j.Made > 0 {
		return nil
	}
	n := most(int64(g), func(n int64) bool {
		return int64(w.t.Index) < n && w.tries.starts(w.tries.asks(w.j.Spec, func(s *api.JobSpec) { s.Gang = int(n) }))
	})
	if n == 0 {
		return nil
	}
	return &api.Remedy{Kind: api.RemedyGang, Gang: int(n)}
}

// firster is the lowest priority with which the task starts.
func (w *waiting) firster() *api.Remedy {
	if w.part.Policy != api.PolicyPriority {
		return nil
	}
	n := least(int64(w.j.Spec.Priority), api.MaxPriority, func(n int64) bool {
		return w.tries.starts(w.tries.asks(w.j.Spec, func(s *api.JobSpec) { s.Priority = int(n) }))
	})
	if n == 0 {
		return nil
	}
	return &api.Remedy{Kind: api.RemedyPriority, Priority: int(n)}
}

// higher is the least by which all limits that are in the way must be raised.
func (w *waiting) higher() *api.Remedy {
	full := w.watch.full
	if q := w.watch.quota; q != nil {
		full = w.hits(w.t.Partition, q.Whole.Add(w.c.Need.Times(max(1, w.j.Spec.Gang))))
	}
	if len(full) == 0 {
		return nil
	}
	to := func(amounts []int64) []*api.Partition {
		parts := map[string]*api.Partition{}
		for i, h := range full {
			p := parts[h.partition]
			if p == nil {
				copied := *w.view.Partition(h.partition)
				p = &copied
				parts[h.partition] = p
			}
			p.Limit = p.Limit.With(h.resource, amounts[i])
		}
		return slices.SortedFunc(maps.Values(parts), byPath)
	}
	starts := func(amounts []int64) bool { return w.tries.starts(w.tries.puts(to(amounts))) }
	by := func(times int64) []int64 {
		out := make([]int64, len(full))
		for i, h := range full {
			out[i] = max(h.limit, h.used) + times*h.need
		}
		return out
	}
	amounts := make([]int64, len(full))
	for i, h := range full {
		amounts[i] = h.used + h.need
	}
	if !starts(amounts) {
		// Who goes first takes of it, too.
		n := least(0, 1<<10, func(n int64) bool { return starts(by(n)) })
		if n == 0 {
			return nil
		}
		amounts = by(n)
	}
	floor := make([]int64, len(full))
	for i, h := range full {
		floor[i] = h.limit
	}
	w.lower(amounts, floor, starts)
	r := &api.Remedy{Kind: api.RemedyLimit}
	for _, p := range to(amounts) {
		r.Shares = append(r.Shares, api.RemedyShare{Partition: p.Path, Amounts: p.Limit})
	}
	return r
}

// lower makes amounts with which the task starts as low as may be, above a floor,
// one after the other, until none can be lower by itself: what is left to others
// decides whether they come first.
func (w *waiting) lower(amounts, floor []int64, starts func(amounts []int64) bool) {
	for again := true; again && w.tries.left > 0; {
		again = false
		for i, before := range amounts {
			amounts[i] = w.lowest(floor[i], before, func(v int64) bool {
				trial := slices.Clone(amounts)
				trial[i] = v
				return starts(trial)
			})
			again = again || amounts[i] < before
		}
	}
}

// lowest is the smallest number above bad with which the task starts; with good
// it does.
func (w *waiting) lowest(bad, good int64, starts func(v int64) bool) int64 {
	if good-1 <= bad || !starts(good-1) {
		return good
	}
	for good--; good-bad > 1 && w.tries.left > 0; {
		if mid := bad + (good-bad)/2; starts(mid) {
			good = mid
		} else {
			bad = mid
		}
	}
	return good
}

func byPath(a, b *api.Partition) int {
	if a.Path < b.Path {
		return -1
	}
	return 1
}

// guaranteed is the least guarantee by which others are preempted for the task, or it
// need not stand back for them.
func (w *waiting) guaranteed() *api.Remedy {
	need := w.c.Need.Times(max(1, w.j.Spec.Gang))
	part := w.view.Partition(w.t.Partition)
	if part == nil || w.nearest < 0 || w.entitled(part.Path, need) {
		return nil
	}
	used, more, names := api.AmountsOf(w.round.Held(part.Path).Minus(w.loans.of[part.Path])), api.AmountsOf(need), part.Guarantee
	if names.IsZero() {
		short, ok := w.e.slots.Free[w.nearest].Missing(w.c.Need)
		if ok || more.Of(short.Resource) == 0 {
			short.Resource = "cpus"
		}
		names = names.With(short.Resource, 1)
	}
	g := part.Guarantee
	for k := range names.Each {
		if n := more.Of(k); n > 0 {
			g = g.With(k, max(g.Of(k), used.Of(k)+n))
		}
	}
	starts := func(g api.Amounts) bool {
		next := *part
		next.Guarantee = g
		return w.tries.starts(w.tries.puts([]*api.Partition{&next}))
	}
	if part.Adjust != nil || g.IsZero() || !starts(g) {
		return nil // one that moves by itself is not the user's
	}
	var kinds []string
	var amounts, floor []int64
	for k, v := range g.Each {
		kinds, amounts, floor = append(kinds, k), append(amounts, v), append(floor, part.Guarantee.Of(k))
	}
	with := func(amounts []int64) api.Amounts {
		for i, k := range kinds {
			g = g.With(k, amounts[i])
		}
		return g
	}
	w.lower(amounts, floor, func(amounts []int64) bool { return starts(with(amounts)) })
	return &api.Remedy{Kind: api.RemedyGuarantee, Shares: []api.RemedyShare{{Partition: part.Path, Amounts: with(amounts)}}}
}

// resumed lists the draining nodes on which the task would start.
func (w *waiting) resumed() (out []api.Remedy) {
	for n := range w.view.Nodes() {
		if !n.Drain || len(out) >= maxResumes || w.tries.left <= 0 {
			continue
		}
		if w.tries.starts(func(f *fsm.Fork) error {
			_, err := f.Do(&fsm.NodeDrain{Meta: fsm.Meta{At: w.now, Actor: "why"}, ID: n.ID})
			return err
		}) {
			out = append(out, api.Remedy{Kind: api.RemedyResume, Node: n.Name})
		}
	}
	return out
}
