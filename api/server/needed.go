package server

import (
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// NeededPath is where a node that does not know the state asks which of its uploads have
// to stay.
const NeededPath = "/v1/internal/needed"

// maxNeeded bounds of how many uploads it is asked at once.
const maxNeeded = 1024

// NeededUploads are some that a node holds; in the answer those of them that have to stay.
type NeededUploads struct {
	Digests []string `json:"digests"`
}

// Of are those that a version of a job has, and of which the node told that it holds them:
// that is where the others have them from.
func (n NeededUploads) Of(v *fsm.View, nodeID string) NeededUploads {
	out := NeededUploads{Digests: []string{}}
	for _, d := range n.Digests {
		if b := v.Blob(d); b != nil && slices.Contains(b.Nodes, nodeID) && v.Uses(d) {
			out.Digests = append(out.Digests, d)
		}
	}
	return out
}

func neededUploads(c *call) (any, error) {
	if err := c.nodeOnly(); err != nil {
		return nil, err
	}
	var in NeededUploads
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if len(in.Digests) > maxNeeded {
		return nil, api.FieldErrorf("digests", "are %d, at most %d are answered at once", len(in.Digests), maxNeeded)
	}
	return in.Of(c.Store.View(), c.ID.NodeID), nil
}
