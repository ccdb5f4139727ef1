package fsm

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
)

// This file has frameworks themselves; what they run is in frameworktask.go, and what
// they are told of it in frameworknews.go.

var frameworkNoun = noun[api.Framework]{
	less:     func(a, b *api.Framework) bool { return a.ID < b.ID },
	watch:    TableFrameworks,
	id:       func(f *api.Framework) string { return f.ID },
	revision: func(f *api.Framework) *uint64 { return &f.Revision },
	follow:   (*tx).indexFramework,
	forms:    []form[api.Framework]{{record: recFramework}},
}

// indexFramework keeps the order in which frameworks ended, and the count of the others.
func (x *tx) indexFramework(old, f *api.Framework) {
	if old != nil && !old.Ended.IsZero() {
		x.endedFrameworks.Delete(old)
	}
	if f != nil && !f.Ended.IsZero() {
		x.endedFrameworks.ReplaceOrInsert(f)
	}
}

// FrameworkPut connects a framework, which is made if there is none with that id, or
// changes what is known of one. Its value is the *api.Framework.
type FrameworkPut struct {
	Meta
	Framework *api.Framework `json:"framework"`
	// Connect begins the session that it names; else the one that it names has to be the
	// current one, and stays.
	Connect bool `json:"connect,omitempty"`
	// KeepOffers leaves it the offers of the session before: the one that it had ended
	// with a leader, not by its own doing.
	KeepOffers bool `json:"keepOffers,omitempty"`
}

func (c *FrameworkPut) apply(x *tx) (any, error) {
	f := *c.Framework
	old := x.frameworkAt(f.ID)
	switch {
	case f.ID == "":
		return nil, api.FieldErrorf("framework.id", "is empty")
	case len(f.Info) > api.MaxFrameworkInfo:
		return nil, api.FieldErrorf("framework.info", "has %d bytes, at most %d are allowed", len(f.Info), api.MaxFrameworkInfo)
	case old == nil && !c.Connect:
		return nil, api.NotFound("framework", f.ID)
	case old == nil && x.frameworks.len()-x.endedFrameworks.Len() >= api.MaxFrameworks:
		return nil, conflict("there are %s already: remove one with `mesita framework rm`", api.Count(api.MaxFrameworks, "framework"))
	case old != nil && !old.Ended.IsZero(), old == nil && len(x.frameworkJobs(f.ID)) > 0: // of one that is forgotten
		return nil, conflict("framework %s was removed: it can register under another id", f.ID)
	case old != nil && old.Principal != f.Principal:
		return nil, conflict("framework %s is of another principal", f.ID)
	case old != nil && !c.Connect && old.Session != f.Session:
		return nil, conflict("framework %s is connected by another session", f.ID)
	}
	for _, path := range f.Partitions {
		if x.partitions.get(&api.Partition{Path: path}) == nil {
			return nil, api.NotFound("partition", path)
		}
	}
	f.Created, f.Since, f.Connected, f.Ended, f.Reason = c.At, c.At, true, time.Time{}, ""
	f.Actor = c.Actor
	if old != nil {
		f.Extra, f.Created, f.Actor = old.Extra, old.Created, old.Actor
		if !c.Connect {
			f.Since, f.Connected = old.Since, old.Connected
		}
	}
	if c.Connect && old != nil && !c.KeepOffers {
		x.endOffersOf(f.ID, "", "its framework connected anew")
	}
	for _, path := range leftPartitions(old, &f) {
		x.endOffersOf(f.ID, path, "its framework left the partition")
	}
	x.frameworks.put(x, &f)
	kind, what := api.EventFrameworkConnected, f.Name
	if !c.Connect {
		kind, what = api.EventFrameworkUpdated, "it said so"
	}
	x.happened(api.Event{Kind: kind, Object: f.ID, Message: what})
	return &f, nil
}

// leftPartitions are those that a framework was in and is not any more.
func leftPartitions(old, f *api.Framework) (out []string) {
	if old == nil {
		return nil
	}
	for _, path := range old.Partitions {
		if !f.In(path) {
			out = append(out, path)
		}
	}
	return out
}

// FrameworkLeave notes that the connection of a framework is gone, if it is that one
// still: what it was offered is taken back, and what it runs stays. Its value is the
// *api.Framework.
type FrameworkLeave struct {
	Meta
	ID      string `json:"id"`
	Session string `json:"session"`
}

func (c *FrameworkLeave) apply(x *tx) (any, error) {
	old, err := x.framework(c.ID)
	if err != nil {
		return nil, err
	}
	if old.Session != c.Session || !old.Connected {
		return nil, conflict("framework %s is not connected by that session", c.ID)
	}
	f := *old
	f.Connected, f.Since = false, c.At
	x.endOffersOf(f.ID, "", "its framework is not connected")
	x.frameworks.put(x, &f)
	what := "what it runs ends, as it asked for no time in which to be back"
	if f.Failover > 0 {
		what = "what it runs ends if it is not back within " + f.Failover.String()
	}
	x.happened(api.Event{Kind: api.EventFrameworkAway, Object: f.ID, Message: what})
	return &f, nil
}

// FrameworkRemove ends a framework for good, with all that it runs. Its value is the
// *api.Framework.
type FrameworkRemove struct {
	Meta
	ID     string `json:"id"`
	Reason string `json:"reason,omitempty"`
	// Session, if not "", is the last one of the framework, which has not come back since.
	Session string `json:"session,omitempty"`
}

func (c *FrameworkRemove) apply(x *tx) (any, error) {
	old, err := x.framework(c.ID)
	if err != nil {
		return nil, err
	}
	if c.Session != "" && (old.Connected || old.Session != c.Session) {
		return nil, conflict("framework %s is back", c.ID)
	}
	f := *old
	f.Connected, f.Since, f.Ended, f.Reason = false, c.At, c.At, cmp.Or(c.Reason, "asked for")
	x.endOffersOf(f.ID, "", "its framework was removed")
	x.frameworks.put(x, &f)
	x.happened(api.Event{Kind: api.EventFrameworkRemoved, Object: f.ID, Message: f.Reason})
	for _, j := range x.frameworkJobs(f.ID) {
		if _, err := (&JobStop{Meta: c.Meta, ID: j.ID, cause: "its framework was removed", framework: true}).apply(x); err != nil {
			return nil, err
		}
	}
	x.dropNews(f.ID)
	for x.endedFrameworks.Len() > api.MaxEndedFrameworks {
		first, _ := x.endedFrameworks.Min()
		x.frameworks.delete(x, first)
	}
	return &f, nil
}

// leavePartition has no framework take offers in a partition that is removed, nor a job
// there.
func (x *tx) leavePartition(m Meta, path string) error {
	for _, f := range slices.Collect(x.frameworks.all()) {
		if !f.In(path) || !f.Ended.IsZero() {
			continue
		}
		left := *f
		left.Partitions = slices.DeleteFunc(slices.Clone(f.Partitions), func(p string) bool { return p == path })
		x.frameworks.put(x, &left)
		x.happened(api.Event{Kind: api.EventFrameworkUpdated, Object: f.ID, Message: "partition " + path + " was removed"})
		for _, j := range x.frameworkJobs(f.ID) {
			if j.Spec.Partition != path || j.Stop {
				continue
			}
			if _, err := (&JobStop{Meta: m, ID: j.ID, cause: "partition " + path + " was removed", framework: true}).apply(x); err != nil {
				return err
			}
		}
	}
	return nil
}

// framework is one that has not ended.
func (x *tx) framework(id string) (*api.Framework, error) {
	f := x.frameworkAt(id)
	if f == nil || !f.Ended.IsZero() {
		return nil, api.NotFound("framework", id)
	}
	return f, nil
}

func (t *tables) frameworkAt(id string) *api.Framework {
	return t.frameworks.get(&api.Framework{ID: id})
}

func (x *tx) endOffersOf(framework, partition, why string) {
	for _, o := range x.offersWhere(func(o *api.Offer) bool {
		return o.Framework == framework && (partition == "" || o.Partition == partition)
	}) {
		x.endOffer(o, why)
	}
}

// Framework is nil if there is none with that id.
func (v *View) Framework(id string) *api.Framework { return v.t.frameworkAt(id) }

// Frameworks lists all by id, also those that have ended and are remembered.
func (v *View) Frameworks() iter.Seq[*api.Framework] { return v.t.frameworks.all() }

// FrameworkCount is how many have not ended.
func (v *View) FrameworkCount() int { return v.t.frameworks.len() - v.t.endedFrameworks.Len() }

// useOfFramework keeps the sums of what a framework has in a partition in step.
func (x *tx) useOfFramework(framework, partition string, change func(*api.PartitionUsage)) {
	row := x.ownUse(&x.frameworkUsage, useKey(framework, partition))
	if change(&row.PartitionUsage); api.AmountsOf(row.Allocated).IsZero() && api.AmountsOf(row.Offered).IsZero() {
		x.frameworkUsage.Delete(row)
	}
}

func useKey(framework, partition string) string { return framework + "\x00" + partition }

// FrameworkUsage is what a framework's tasks hold in a partition, and its offers.
func (v *View) FrameworkUsage(framework, partition string) (u api.PartitionUsage) {
	if r := get(v.t.frameworkUsage.BTreeG, &usageRow{path: useKey(framework, partition)}); r != nil {
		return r.PartitionUsage
	}
	return u
}
