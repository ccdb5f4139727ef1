package server

import (
	"context"
	"reflect"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

func listPartitions(c *call) (any, error) {
	return exchange.ListOf(slices.Values(c.Shares.Status(c.Store.View()))), nil
}

func getPartition(c *call) (any, error) {
	for _, p := range c.Shares.Status(c.Store.View()) {
		if p.Path == c.Args[0] {
			return p, nil
		}
	}
	return nil, noPartition(c.Args[0])
}

func noPartition(path string) error {
	return api.NotFound("partition", path)
}

// partition reads, completes and checks the one in the body.
func (c *call) partition() (*api.Partition, error) {
	p := new(api.Partition)
	if err := c.Decode(p); err != nil {
		return nil, err
	}
	if p.Path == "" {
		p.Path = c.Args[0]
	}
	if p.Path != c.Args[0] {
		return nil, api.FieldErrorf("path", "is %q in the body and %q in the address: make them the same", p.Path, c.Args[0])
	}
	return c.checked(p)
}

// checked is a partition as an operator asks for it, completed and checked.
func (c *call) checked(p *api.Partition) (*api.Partition, error) {
	v := c.Store.View()
	old := v.Partition(p.Path)
	var before []api.Constraint
	if old != nil {
		before = old.Nodes
	}
	p.Normalize()
	p = p.Asked()
	p.Nodes = api.MarkVersions(p.Nodes, before, v.Does(fsm.Versions))
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if err := p.CheckRules(old, v.Nodes()); err != nil {
		return nil, err
	}
	return p, p.CheckZones()
}

func putPartition(c *call) (any, error) {
	dry, create := c.Query.Flag("dry_run"), c.Query.Flag("create")
	ifVersion, ifRevision := c.Query.Number("if_version", 0, 1, 1<<31-1), c.Query.Index("if_revision")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	p, err := c.partition()
	if err != nil {
		return nil, err
	}
	v := c.Store.View()
	old := v.Partition(p.Path)
	if err := c.mayMap(old, p); err != nil {
		return nil, err
	}
	if err := c.mayRaise(v, old, p); err != nil {
		return nil, err
	}
	cmd := &fsm.PartitionPut{Meta: c.Meta(), Partition: p, Create: create, IfVersion: ifVersion, IfRevision: ifRevision}
	if err := c.keepMap(old, cmd); err != nil {
		return nil, err
	}
	change, err := c.Shares.Plan(v, cmd)
	if err == nil && old != nil && samePartition(old, p) {
		change.Partition, change.Action = old, "nothing"
		return change, nil
	}
	if err != nil {
		return change, err
	}
	if dry {
		err = c.Ponder(func(ctx context.Context) (err error) {
			change, err = c.Shares.Foresee(ctx, v, cmd)
			return err
		})
		return change, err
	}
	change.Partition, err = exchange.DoAs[*api.Partition](c.Call, cmd)
	return change, err
}

// mayRaise refuses that a partition lets one task have more than what is above it
// does, to who may not change that either.
func (c *call) mayRaise(v *fsm.View, old, p *api.Partition) error {
	if old == nil {
		old = new(api.Partition)
	}
	field, above := p.Raises(old, v.Chain(p.Parent()))
	if field == "" || auth.May(c.ID, auth.ManagePartitions, auth.Object{Partition: above}) == nil {
		return nil
	}
	return &api.Error{Code: api.CodeNotAllowed, Field: field, Message: "is above that of partition " + above + ", which you may not change, and you are " + c.ID.Actor + " (" + c.ID.Has() +
		"): name no more than that, or leave it out, so that it holds here, too"}
}

// samePartition reports whether an operator asked for the same in both.
func samePartition(a, b *api.Partition) bool {
	return reflect.DeepEqual(a.Asked(), b.Asked())
}

func removePartition(c *call) (any, error) {
	dry, drain := c.Query.Flag("dry_run"), c.Query.Flag("drain")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	v := c.Store.View()
	if v.Partition(c.Args[0]) == nil {
		return nil, noPartition(c.Args[0])
	}
	change, err := c.Shares.PlanRemove(v, c.Args[0], drain)
	if err != nil || dry {
		return change, err
	}
	change.Partition, err = exchange.DoAs[*api.Partition](c.Call, &fsm.PartitionRemove{Meta: c.Meta(), Path: c.Args[0], Drain: drain})
	return change, err
}
