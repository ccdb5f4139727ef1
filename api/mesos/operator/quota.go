package operator

import (
	"errors"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/fsm"
)

// change is what is to be of one partition.
type change struct {
	role string
	to   func(p *api.Partition) error
}

// maxChanges bounds the roles of one call.
const maxChanges = api.MaxPartitions

// partitions makes changes of partitions, all or none.
func (s *Server) partitions(c *exchange.Call, what string, changes []change) error {
	if len(changes) > maxChanges {
		return api.Errorf(api.CodeInvalid, "%d roles are named, and there are at most %d", len(changes), maxChanges)
	}
	is := s.Store.View()
	v := is
	all, at := &fsm.ApplyAll{Meta: c.Meta()}, map[string]int{}
	var names []string
	for _, ch := range changes {
		path := rows.Partition(ch.role)
		names = append(names, path)
		noted(c, auth.ManagePartitions, strings.Join(names, ", "), what)
		if err := auth.May(c.ID, auth.ManagePartitions, auth.Object{Partition: path}); err != nil {
			return err
		}
		old := v.Partition(path)
		if old == nil {
			return api.Errorf(api.CodeInvalid, "Unknown role '%s': there is no partition of that name, and `mesita partition create %s` makes it", ch.role, path)
		}
		p := *old.Asked()
		if err := ch.to(&p); err != nil {
			return err
		}
		put := &fsm.PartitionPut{Meta: all.Meta, Partition: &p}
		t := v.Trial(put)
		if err := unfit(t.Err); err != nil {
			return err
		}
		if i, again := at[path]; again {
			all.Partitions[i] = put
		} else {
			at[path] = len(all.Partitions)
			all.Partitions = append(all.Partitions, put)
			all.Seen = append(all.Seen, fsm.Seen{Partition: path, Revision: is.Partition(path).Revision})
		}
		c.Subject.Each = append(c.Subject.Each, exchange.Subject{Object: path, Partition: path, Asked: what, Before: old, After: t.View.Partition(path)})
		v = t.View
	}
	if len(all.Partitions) == 0 {
		return nil
	}
	_, err := c.Do(all)
	if part := (*fsm.PartError)(nil); errors.As(err, &part) {
		err = part.Err
	}
	return unfit(err)
}

// unfit is why a change of partitions was refused, in the words of Mesos if what is
// guaranteed would be more than there is.
func unfit(err error) error {
	if api.ErrorCode(err) == api.CodeDoesNotFit {
		return api.Errorf(api.CodeConflict, "Not enough available cluster capacity to reasonably satisfy quota request: %v; 'force' does not change that here, as each guarantee holds", err)
	}
	return err
}

func (s *Server) updateWeights(c *exchange.Call, m *v1.MasterCall) error {
	var changes []change
	for _, w := range m.UpdateWeights.WeightInfos {
		changes = append(changes, change{v1.Get(w.Role), func(p *api.Partition) error {
			if !(w.Weight > 0 && w.Weight < 1e9) {
				return api.Errorf(api.CodeInvalid, "Invalid weight '%v' for role '%s': Weights must be positive", w.Weight, v1.Get(w.Role))
			}
			p.Weight = api.Weight(rows.Milli(w.Weight))
			return nil
		}})
	}
	return s.partitions(c, "UPDATE_WEIGHTS", changes)
}

func (s *Server) updateQuota(c *exchange.Call, m *v1.MasterCall) error {
	var changes []change
	for _, q := range m.UpdateQuota.QuotaConfigs {
		changes = append(changes, change{q.Role, func(p *api.Partition) (err error) {
			if p.Guarantee, err = amounts("guarantees", q.Guarantees); err == nil {
				p.Limit, err = amounts("limits", q.Limits)
			}
			return err
		}})
	}
	return s.partitions(c, "UPDATE_QUOTA", changes)
}

// setQuota is how it was before Mesos had limits: what is guaranteed is the most, too.
func (s *Server) setQuota(c *exchange.Call, m *v1.MasterCall) error {
	q := m.SetQuota.QuotaRequest
	given := map[string]*v1.ValueScalar{}
	for _, r := range q.Guarantee {
		if r.Type != v1.ValueTypeScalar || r.Scalar == nil || given[r.Name] != nil {
			return api.Errorf(api.CodeInvalid, "Failed to validate set quota request: '%s' is not one scalar", r.Name)
		}
		given[r.Name] = r.Scalar
	}
	return s.partitions(c, "SET_QUOTA", []change{{v1.Get(q.Role), func(p *api.Partition) (err error) {
		p.Guarantee, err = amounts("guarantee", given)
		p.Limit = p.Guarantee
		return err
	}}})
}

func (s *Server) removeQuota(c *exchange.Call, m *v1.MasterCall) error {
	return s.partitions(c, "REMOVE_QUOTA", []change{{m.RemoveQuota.Role, func(p *api.Partition) error {
		p.Guarantee, p.Limit, p.LimitHard = api.Amounts{}, api.Amounts{}, false
		return nil
	}}})
}

// mostAmount is more than any cluster has of anything, in the units of Mesos.
const mostAmount = 1e12

// amounts are what is guaranteed or limited.
func amounts(field string, given map[string]*v1.ValueScalar) (a api.Amounts, err error) {
	for name, x := range given {
		if !(x.Value >= 0 && x.Value < mostAmount) {
			return a, api.FieldErrorf(field, "%s of %v is not an amount", name, x.Value)
		}
		n := rows.Milli(x.Value)
		switch name {
		case "cpus":
			a.CPUs = api.MilliCPU(n)
		case "mem":
			a.Mem = rows.Bytes(n)
		case "disk":
			a.Disk = rows.Bytes(n)
		case "gpus":
			if n%1000 != 0 {
				return a, api.FieldErrorf(field, "gpus of %v: only whole ones are given", x.Value)
			}
			a.GPUs = n / 1000
		case "ports":
			return a, api.FieldErrorf(field, "ports cannot be shared by amount")
		default:
			if a.Custom == nil {
				a.Custom = map[string]api.Weight{}
			}
			a.Custom[name] = api.Weight(n)
		}
	}
	return a, nil
}
