package server

import (
	"iter"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// A framework is seen by who sees a partition that it is in, or something that it runs,
// and shown as far as that. It ends for all of its partitions at once, so who ends it has
// to have the right in each.

// framework reports whether the caller sees a framework.
func (s *sight) framework(f *api.Framework) bool {
	return s.all || slices.ContainsFunc(f.Partitions, s.partition) || slices.ContainsFunc(s.view.FrameworkJobs(f.ID), s.reads)
}

// partition reports whether the caller sees all jobs of a partition.
func (s *sight) partition(path string) bool { return s.mayRead(auth.Object{Partition: path}) }

// shownFramework is a framework with what the caller sees of it.
func (s *sight) shownFramework(f *api.Framework, offers map[string][]*api.Offer) *api.FrameworkStatus {
	shown := *f
	shown.Session, shown.Info = "", nil // who knows the session may speak for the framework
	if !s.all {
		shown.Partitions = slices.DeleteFunc(slices.Clone(f.Partitions), func(path string) bool { return !s.partition(path) })
	}
	out := &api.FrameworkStatus{Framework: &shown, Jobs: []string{}}
	for _, j := range s.view.FrameworkJobs(f.ID) {
		if s.reads(j) {
			out.Jobs, out.Counts = append(out.Jobs, j.ID), out.Counts.Plus(j.Counts)
		}
	}
	for _, o := range offers[f.ID] {
		out.Offers++
		out.Offered = out.Offered.Add(o.Resources)
	}
	return out
}

// offers are those that the caller sees, by framework.
func (s *sight) offers() map[string][]*api.Offer {
	out := map[string][]*api.Offer{}
	for o := range s.view.Offers() {
		if s.offer(o) {
			out[o.Framework] = append(out[o.Framework], o)
		}
	}
	return out
}

func (s *sight) offer(o *api.Offer) bool { return s.all || s.partition(o.Partition) }

func (s *sight) shownOffer(o *api.Offer) *api.OfferStatus {
	out := &api.OfferStatus{Offer: o}
	if n := s.view.Node(o.NodeID); n != nil {
		out.Node = n.Name
	}
	if f := s.view.Framework(o.Framework); f != nil {
		out.Name = f.Name
	}
	return out
}

func listFrameworks(c *call) (any, error) {
	all := c.Query.Flag("all")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	v := c.Store.View()
	sees := c.sight(v)
	offers := sees.offers()
	var rows iter.Seq[*api.FrameworkStatus] = func(yield func(*api.FrameworkStatus) bool) {
		for f := range v.Frameworks() {
			if (all || f.Ended.IsZero()) && sees.framework(f) && !yield(sees.shownFramework(f, offers)) {
				return
			}
		}
	}
	return exchange.ListOf(rows), nil
}

// framework is the one that the path names.
func (c *call) framework() (*api.Framework, error) {
	v := c.Store.View()
	if f := v.Framework(c.Args[0]); f != nil && c.sight(v).framework(f) {
		return f, nil
	}
	return nil, api.NotFound("framework", c.Args[0])
}

func getFramework(c *call) (any, error) {
	f, err := c.framework()
	if err != nil {
		return nil, err
	}
	v := c.Store.View()
	sees := c.sight(v)
	out := sees.shownFramework(f, sees.offers())
	for _, j := range v.FrameworkJobs(f.ID) {
		if !sees.job(j.ID) {
			continue
		}
		for t := range v.MadeTasks(j.ID) {
			if t.Holds() {
				out.Held = out.Held.Add(t.Whole())
			}
		}
	}
	return out, nil
}

// mayEnd asks for all that a framework has.
func (c *call) mayEnd(v *fsm.View, a auth.Action, f *api.Framework) error {
	if len(f.Partitions) == 0 && len(v.FrameworkJobs(f.ID)) == 0 { // it is nowhere, so nobody's but the cluster's
		return auth.May(c.ID, auth.ManageCluster, auth.Object{})
	}
	for _, path := range f.Partitions {
		if err := auth.May(c.ID, a, admit.Object(v, path, "")); err != nil {
			return err
		}
	}
	for _, j := range v.FrameworkJobs(f.ID) { // also where it is not any more
		if err := c.mayChange(v, a, j.ID); err != nil && !f.In(j.Spec.Partition) {
			return err
		}
	}
	return nil
}

func removeFramework(c *call) (any, error) {
	f, err := c.framework()
	if err != nil {
		return nil, err
	}
	if !f.Ended.IsZero() {
		return nil, api.Errorf(api.CodeConflict, "framework %q (%s) was removed before: it can register under another id", f.Name, f.ID)
	}
	_, err = c.Do(&fsm.FrameworkRemove{Meta: c.Meta(), ID: f.ID, Reason: "removed by " + c.ID.Actor})
	return removed{1}, err
}

func listOffers(c *call) (any, error) {
	of := c.Query.Text("framework")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	v := c.Store.View()
	sees := c.sight(v)
	if of != "" {
		if f := v.Framework(of); f == nil || !sees.framework(f) {
			return nil, api.NotFound("framework", of)
		}
	}
	var rows iter.Seq[*api.OfferStatus] = func(yield func(*api.OfferStatus) bool) {
		for o := range v.Offers() {
			if (of == "" || o.Framework == of) && sees.offer(o) && !yield(sees.shownOffer(o)) {
				return
			}
		}
	}
	return exchange.ListOf(rows), nil
}

// offer is the one that the path names.
func (c *call) offer() (*api.Offer, error) {
	v := c.Store.View()
	if o := v.Offer(c.Args[0]); o != nil && c.sight(v).offer(o) {
		return o, nil
	}
	return nil, api.NotFound("offer", c.Args[0])
}

func removeOffer(c *call) (any, error) {
	n, err := exchange.DoAs[int](c.Call, &fsm.OfferRemove{Meta: c.Meta(), IDs: c.Args[:], Reason: "rescinded by " + c.ID.Actor})
	if err == nil && n == 0 { // it was answered meanwhile
		err = api.NotFound("offer", c.Args[0])
	}
	return removed{n}, err
}
