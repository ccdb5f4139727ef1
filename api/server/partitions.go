package server

import (
	"reflect"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/server/exchange"
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
	return api.Errorf(api.CodeNotFound, "no partition %q: `mesita partition ls` lists them", path)
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
	p.Normalize()
	p = p.Asked()
	return p, p.Validate()
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
	cmd := &fsm.PartitionPut{Meta: c.Meta(), Partition: p, Create: create, IfVersion: ifVersion, IfRevision: ifRevision}
	change, err := c.Shares.Plan(v, cmd)
	if err == nil && old != nil && samePartition(old, p) {
		change.Partition, change.Action = old, "nothing"
		return change, nil
	}
	if err != nil || dry {
		return change, err
	}
	change.Partition, err = exchange.DoAs[*api.Partition](c.Call, cmd)
	return change, err
}

// samePartition tells whether an operator asked for the same in both.
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

// maySubmit refuses a caller whom the partition does not name. A partition
// that names nobody goes by the nearest one above it that does.
func (c *call) maySubmit(v *fsm.View, path string) error {
	if c.ID.Role >= admin {
		return nil
	}
	for ; path != ""; path = api.ParentPath(path) {
		p := v.Partition(path)
		if p == nil || len(p.Users) == 0 && len(p.Roles) == 0 {
			continue
		}
		if admits(p, c.ID) {
			return nil
		}
		return &api.Error{Code: api.CodeNotAllowed, Field: "partition",
			Message: "partition " + path + " takes work from " + who(p) + " only, and you are " + c.ID.Actor + " (" + c.ID.Role.String() + "): use another partition, or ask an admin to put you on the list with `mesita partition set " + path + " --user …`"}
	}
	return nil
}

// mayChange refuses a caller whom the partition of a job does not name, whatever
// the caller would make of it: who may not submit there has nothing to change,
// to end or to enter either. A job that is not there is nobody's.
func (c *call) mayChange(v *fsm.View, job string) error {
	j := v.Job(job)
	if j == nil {
		return nil
	}
	return c.maySubmit(v, j.Spec.Partition)
}

// admits tells whether one of the partition's lists holds the caller. A user
// is the actor as events name it, or the name of its token.
func admits(p *api.Partition, id auth.Identity) bool {
	name := strings.TrimPrefix(id.Actor, "token:")
	for _, u := range p.Users {
		if u == id.Actor || strings.TrimPrefix(u, "token:") == name {
			return true
		}
	}
	return slices.ContainsFunc(p.Roles, func(r string) bool {
		var least api.Role
		return least.UnmarshalText([]byte(r)) == nil && id.Role >= least
	})
}

func who(p *api.Partition) string {
	out := slices.Clone(p.Users[:min(len(p.Users), 8)])
	if more := len(p.Users) - len(out); more > 0 {
		out = append(out, "others")
	}
	for _, r := range p.Roles {
		out = append(out, "the role "+r)
	}
	return strings.Join(append(out, "admins"), ", ")
}
