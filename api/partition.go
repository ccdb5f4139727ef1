package api

import "time"

// Partition is a named share of the cluster.
type Partition struct {
	Extra
	Path     string    `json:"path"`
	Weight   int64     `json:"weight"` // in thousandths
	Priority int       `json:"priority,omitempty"`
	Created  time.Time `json:"created,omitzero"`
}

// Validate checks a partition.
func (p *Partition) Validate() error {
	if err := ValidatePartition("path", p.Path); err != nil {
		return err
	}
	if p.Weight <= 0 {
		return FieldErrorf("weight", "is not above zero")
	}
	return nil
}

// PartitionUsage is what the tasks of a partition hold.
type PartitionUsage struct {
	Allocated Resources `json:"allocated"`
	Running   int       `json:"running"`
	Pending   int       `json:"pending"`
}

// Offer is resources of one node set aside for one framework for a short time.
type Offer struct {
	Extra
	ID        string    `json:"id"`
	Framework string    `json:"framework"`
	Partition string    `json:"partition"`
	NodeID    string    `json:"nodeID"`
	Resources Resources `json:"resources"`
	Created   time.Time `json:"created,omitzero"`
	Expires   time.Time `json:"expires,omitzero"`
}
