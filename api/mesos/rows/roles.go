package rows

import (
	"slices"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// partitions are those that the caller sees.
func (r *Rows) partitions() (out []*api.Partition) {
	for p := range r.View.Partitions() {
		if r.SeesPartition(p.Path) {
			out = append(out, p)
		}
	}
	return out
}

// Roles lists partitions with what is held in each, those below it not counted.
func (r *Rows) Roles() (out []*v1.Role) {
	in := map[string][]*v1.FrameworkID{}
	for f := range r.View.Frameworks() {
		if f.Ended.IsZero() {
			for _, path := range f.Partitions {
				in[path] = append(in[path], &v1.FrameworkID{Value: f.ID})
			}
		}
	}
	for _, p := range r.partitions() {
		u := r.View.Usage(p.Path)
		charged := u.Charged()
		out = append(out, &v1.Role{Name: Role(p.Path), Weight: float64(p.Weight) / 1000, Frameworks: in[p.Path], Resources: Resources(charged, Form{})})
	}
	return out
}

// Weights lists those that are not the usual.
func (r *Rows) Weights() (out []*v1.WeightInfo) {
	for _, p := range r.partitions() {
		if p.Weight != api.DefaultWeight {
			out = append(out, &v1.WeightInfo{Weight: float64(p.Weight) / 1000, Role: new(Role(p.Path))})
		}
	}
	return out
}

// Quota lists what partitions are guaranteed and limited to.
func (r *Rows) Quota() *v1.QuotaStatus {
	out := &v1.QuotaStatus{}
	for _, p := range r.partitions() {
		least, most := p.Guaranteed(), p.Limit
		if least.IsZero() && most.IsZero() {
			continue
		}
		c := &v1.QuotaConfig{Role: Role(p.Path), Guarantees: Amounts(least), Limits: Amounts(most)}
		out.Configs = append(out.Configs, c)
		if len(c.Guarantees) > 0 {
			i := &v1.QuotaInfo{Role: &c.Role}
			for name, v := range c.Guarantees {
				i.Guarantee = append(i.Guarantee, &v1.Resource{Name: name, Type: v1.ValueTypeScalar, Scalar: v})
			}
			slices.SortFunc(i.Guarantee, byName)
			out.Infos = append(out.Infos, i)
		}
	}
	return out
}

func byName(a, b *v1.Resource) int {
	if a.Name < b.Name {
		return -1
	}
	return 1
}
