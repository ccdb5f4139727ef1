package fsm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

var partitionNoun = noun[api.Partition]{
	less:     func(a, b *api.Partition) bool { return a.Path < b.Path },
	watch:    TablePartitions,
	id:       func(p *api.Partition) string { return p.Path },
	revision: func(p *api.Partition) *uint64 { return &p.Revision },
	same: func(a, b *api.Partition) bool {
		return a.Drain == b.Drain && a.Version == b.Version
	},
	told: true,
	forms: []form[api.Partition]{{record: recPartition, in: func(body []byte) (*api.Partition, error) {
		p, err := decoded[api.Partition](body)
		p.Normalize() // one written by version 1 lacks what came later
		return p, err
	}}},
}

// PartitionPut makes or changes a partition. Its value is the *api.Partition.
type PartitionPut struct {
	Meta
	Partition *api.Partition `json:"partition"`
	Create    bool           `json:"create,omitempty"`    // only if there is none
	IfVersion int            `json:"ifVersion,omitempty"` // only if it has that one; 0: any

	IfRevision uint64 `json:"ifRevision,omitempty"` // the same
}

func (c *PartitionPut) apply(x *tx) (any, error) {
	p, err := c.put(x, x.fitsTree)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// put is apply, with what reports whether the partition fits in, nil: not asked.
func (c *PartitionPut) put(x *tx, fits func(*api.Partition) error) (*api.Partition, error) {
	p := *c.Partition.Asked()
	p.Normalize()
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if !x.does(SameZones) {
		if err := p.CheckZonesAsBefore(); err != nil {
			return nil, err
		}
	}
	old := x.partitions.get(&p)
	if err := x.partitions.unchanged("partition", &p, c.IfRevision); err != nil {
		return nil, err
	}
	switch {
	case old != nil && c.Create:
		return nil, conflict("partition %q exists: `mesita partition set` changes it", p.Path)
	case old != nil && c.IfVersion > 0 && old.Version != c.IfVersion:
		return nil, conflict("partition %q was changed meanwhile: look at it, and change it again", p.Path)
	}
	if old == nil && x.partitions.len() >= api.MaxPartitions {
		return nil, conflict("there are %d partitions already, more are not allowed", api.MaxPartitions)
	}
	if fits != nil {
		if err := fits(&p); err != nil {
			return nil, err
		}
	}
	p.Created, p.Version = c.At, 1
	what := "made"
	if old != nil {
		p.Created, p.Drain, p.Version = old.Created, old.Drain, old.Version+1
		what = changedFields(old, &p)
	}
	x.partitions.put(x, &p)
	x.happened(api.Event{Kind: api.EventPartition, Object: p.Path, Message: what})
	return &p, nil
}

// changedFields says what an operator's change of a partition does to it.
func changedFields(old, p *api.Partition) string {
	fields := func(p *api.Partition) (m map[string]json.RawMessage) {
		q := *p
		q.Current, q.Created, q.Version, q.Revision = nil, time.Time{}, 0, 0
		b, err := json.Marshal(&q)
		if err != nil || json.Unmarshal(b, &m) != nil {
			return nil
		}
		return m
	}
	before, after := fields(old), fields(p)
	names := maps.Clone(before)
	maps.Copy(names, after)
	var out []string
	for _, k := range slices.Sorted(maps.Keys(names)) {
		if was, is := string(before[k]), string(after[k]); was != is {
			out = append(out, k+" "+cmp.Or(was, "none")+" to "+cmp.Or(is, "none"))
		}
	}
	if len(out) == 0 {
		return "set again as it was"
	}
	return "changed: " + strings.Join(out, ", ")
}

// fitsTree reports whether the guarantees and limits of the tree still fit into
// one another with p in it.
func (x *tx) fitsTree(p *api.Partition) error {
	above := x.capacity
	what, has := "the cluster has", api.AmountsOf(above)
	if parent := p.Parent(); parent != "" {
		up := x.partitions.get(&api.Partition{Path: parent})
		if up == nil {
			return &api.Error{Code: api.CodeNotFound, Field: "path", Message: fmt.Sprintf("there is no partition %q to put %q into: create it first", parent, p.Path)}
		}
		what, has = parent+" is guaranteed", up.Guarantee
	} else if above.CPUs == 0 {
		what = "" // no node has reported yet: nobody knows
	}
	if what != "" {
		if err := fitsSum(p, x.children(p.Parent(), p.Path), what, has); err != nil {
			return err
		}
	}
	var below api.Amounts
	for _, q := range x.children(p.Path, "") {
		below = below.Add(q.Guarantee)
	}
	for k, v := range below.Each {
		if v > p.Guarantee.Of(k) {
			return api.FieldErrorf("guarantee", "its children are guaranteed %s=%s, that is %s more: lower theirs first", k,
				api.FormatAmount(k, v), api.FormatAmount(k, v-p.Guarantee.Of(k)))
		}
	}
	return nil
}

func fitsSum(p *api.Partition, siblings []*api.Partition, what string, has api.Amounts) error {
	for k, v := range p.Guarantee.Each {
		sum, who := v, []string(nil)
		for _, q := range siblings {
			if g := q.Guarantee.Of(k); g > 0 {
				sum += g
				who = append(who, q.Path+" "+api.FormatAmount(k, g))
			}
		}
		if over := sum - has.Of(k); over > 0 {
			taken := ""
			if len(who) > 0 {
				taken = " and " + strings.Join(who[:min(len(who), 5)], ", ") + " of it is taken"
			}
			return &api.Error{Code: api.CodeDoesNotFit, Field: "guarantee", Message: fmt.Sprintf("%s=%s does not fit: %s %s%s; it is %s too much", k,
				api.FormatAmount(k, v), what, api.FormatAmount(k, has.Of(k)), taken, api.FormatAmount(k, over))}
		}
	}
	return nil
}

// children lists the partitions right below that path, all but one.
func (x *tx) children(path, not string) []*api.Partition {
	var out []*api.Partition
	for q := range x.partitions.all() {
		if q.Parent() == path && q.Path != not {
			out = append(out, q)
		}
	}
	return out
}

// firstOf names some jobs.
func firstOf(jobs []*api.Job) string {
	var names []string
	for _, j := range jobs[:min(len(jobs), 3)] {
		names = append(names, j.ID)
	}
	if more := len(jobs) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// PartitionRemove removes a partition that holds no work; with Drain it takes
// no new work from now on, its services end, and it goes when it is empty. Its
// value is the *api.Partition.
type PartitionRemove struct {
	Meta
	Path  string `json:"path"`
	Drain bool   `json:"drain,omitempty"`
}

func (c *PartitionRemove) apply(x *tx) (any, error) {
	p := x.partitions.get(&api.Partition{Path: c.Path})
	if p == nil {
		return nil, api.NotFound("partition", c.Path)
	}
	if p.Path == api.DefaultPartition {
		return nil, conflict("the partition %q cannot be removed: work that names none goes there", p.Path)
	}
	if kids := x.children(p.Path, ""); len(kids) > 0 {
		return nil, conflict("partition %q has %s below it: remove that first", p.Path, kids[0].Path)
	}
	if n := x.reservedIn(p.Path); n > 0 {
		return nil, conflict("partition %q has %s on nodes, which are kept for what is to run there: give them back first, see `mesita node show`", p.Path, api.Count(n, "reservation"))
	}
	work := x.workIn(p.Path)
	if len(work) == 0 {
		if err := x.leavePartition(c.Meta, p.Path); err != nil {
			return nil, err
		}
		x.partitions.delete(x, p)
		if x.endOffersIn(p.Path, " was removed"); api.AmountsOf(x.ownUsage(p.Path).Offered).IsZero() {
			x.usage.Delete(&usageRow{path: p.Path})
		}
		why := "it held no work"
		if p.Drain {
			why = "its work has ended"
		}
		x.happened(api.Event{Kind: api.EventPartitionGone, Object: p.Path, Payload: api.Payload{Partition: p}, Message: why})
		return p, nil
	}
	if !c.Drain {
		return nil, conflict("partition %q holds work (jobs %s): stop it, or use --drain to let it end", p.Path, firstOf(work))
	}
	n := *p
	n.Drain = true
	x.partitions.put(x, &n)
	why := "is being removed: it takes no new work, " + x.count(len(work), "job") + " have to end"
	if x.does(PlainWords) {
		why = "is being removed: it takes no new work, and waits for " + x.count(len(work), "job") + " to end"
	}
	x.happened(api.Event{Kind: api.EventPartition, Object: p.Path, Message: why})
	if x.does(Frameworks) {
		x.endOffersIn(p.Path, " is being removed")
	}
	for _, j := range work {
		if j.Spec.Kind != api.KindBatch {
			if _, err := (&JobStop{Meta: c.Meta, ID: j.ID, cause: "partition " + p.Path + " is being removed", framework: true}).apply(x); err != nil {
				return nil, err
			}
		}
	}
	return &n, nil
}

// workIn lists the jobs of a partition that have not ended. That of a framework does only
// with it, and counts only while something of it runs.
func (x *tx) workIn(path string) []*api.Job {
	var out []*api.Job
	for j := range x.jobs.all() {
		if j.Spec.Partition == path && !j.State.Ended() && (j.Framework == "" || j.Counts.Live() > 0) {
			out = append(out, j)
		}
	}
	return out
}

// PartitionAdjust moves the guarantee of a partition within its operator's
// bounds.
type PartitionAdjust struct {
	Meta
	Path      string      `json:"path"`
	Guarantee api.Amounts `json:"guarantee"`
	Cause     string      `json:"cause"`
}

func (c *PartitionAdjust) apply(x *tx) (any, error) {
	p := x.partitions.get(&api.Partition{Path: c.Path})
	if p == nil {
		return nil, api.NotFound("partition", c.Path)
	}
	if p.Adjust == nil {
		return nil, conflict("partition %q has a fixed guarantee", c.Path)
	}
	n := *p
	n.Current = &c.Guarantee
	x.partitions.put(x, &n)
	x.happened(api.Event{Kind: api.EventPartitionMoved, Object: p.Path, Message: p.Guaranteed().String() + " to " + c.Guarantee.String() + ": " + c.Cause})
	return &n, nil
}

// Usage is what the tasks of a partition hold, those of its children not
// counted.
func (v *View) Usage(path string) api.PartitionUsage {
	if r := get(v.t.usage.BTreeG, &usageRow{path: path}); r != nil {
		return r.PartitionUsage
	}
	return api.PartitionUsage{}
}

// CPUBound is what bounds the use of CPU by a partition and those below it, if
// its limit does.
func (v *View) CPUBound(path string) (b api.CPUBound, ok bool) {
	p := v.Partition(path)
	if p == nil || !p.LimitHard {
		return b, false
	}
	b = api.CPUBound{Partition: path, Limit: p.Limit.CPUs}
	for r := range v.t.usageIn(path) {
		b.Requested += r.Allocated.CPUs - r.Reserved.CPUs + r.taken // no node has anything to run for the rest
	}
	return b, true
}

// Partition is nil if there is none with that path.
func (v *View) Partition(path string) *api.Partition {
	return v.t.partitions.get(&api.Partition{Path: path})
}

// Eligible is a partition with all conditions that its nodes must meet: those
// of the partitions above it hold for it too. It is nil if there is none.
func (v *View) Eligible(path string) *api.Partition { return v.t.eligible(path) }

func (t *tables) eligible(path string) *api.Partition {
	at := func(path string) *api.Partition { return t.partitions.get(&api.Partition{Path: path}) }
	p := at(path)
	if p == nil {
		return nil
	}
	for up := at(p.Parent()); up != nil; up = at(up.Parent()) {
		if len(up.Nodes) > 0 {
			all := *p
			all.Nodes = append(slices.Clone(up.Nodes), p.Nodes...)
			p = &all
		}
	}
	return p
}

// Partitions lists all partitions by path.
func (v *View) Partitions() iter.Seq[*api.Partition] { return v.t.partitions.all() }
