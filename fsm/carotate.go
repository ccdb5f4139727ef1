package fsm

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/mesita/mesita/api"
)

// CASteps is how many steps a change of the CA's key has, as one of gossip's:
// all nodes trust the new key, all have certificates of it, nobody trusts the old
// one any more. Each is taken once all nodes that are there have done the one before.
const CASteps = 3

// CARotate takes the change of the CA's key one step on. The first brings the new
// one. Its value is the *api.Authority.
type CARotate struct {
	Meta
	Step uint64 `json:"step"` // that it continues from

	// In the first: the new certificate and key, PEM, the key's pin, and the new key's
	// certificate by the old one.
	Cert  []byte `json:"cert,omitempty"`
	Key   []byte `json:"key,omitempty"`
	Pin   string `json:"pin,omitempty"`
	Cross []byte `json:"cross,omitempty"`

	// Also in the first: the api.Authority.CADue that it was decided at. Whoever lost
	// the right to vote since may still get the log, and this key with it.
	Due uint64 `json:"due,omitempty"`
}

var caStepText = [CASteps]string{"the old key is not trusted any more", "a new key is being told to all nodes", "all nodes trust the new key, and get certificates of it"}

func (c *CARotate) apply(x *tx) (any, error) {
	if x.authority == nil {
		return nil, conflict("the cluster is not made yet")
	}
	a := *x.authority
	begins := a.CAStep%CASteps == 0
	switch {
	case a.CAStep != c.Step:
		return nil, conflict("the change of the CA's key is now at step %d, not %d", a.CAStep, c.Step)
	case begins && (len(c.Cert) == 0 || len(c.Key) == 0 || len(c.Cross) == 0 || c.Pin == "" || bytes.Equal(c.Cert, a.CACert)):
		return nil, api.FieldErrorf("cert", "is not a new authority")
	case begins && a.CADue != c.Due:
		return nil, conflict("another node may vote no more since this change was decided on: the key of the CA is not changed before that node gets the log no more; try again")
	case begins:
		a.CADue = 0
		a.CANext, a.CANextKey, a.CANextPin = c.Cert, c.Key, c.Pin
		a.CAPast = append(slices.Clone(a.CAPast), api.PastCA{Cert: a.CACert, Cross: c.Cross})
		a.CAPast = a.CAPast[max(0, len(a.CAPast)-api.MaxPastCAs):]
	case a.CAStep%CASteps == 1:
		a.CACert, a.CANext = a.CANext, a.CACert
		a.CAKey, a.CANextKey = a.CANextKey, nil // the old one signs nothing any more
		a.Pin, a.CANextPin = a.CANextPin, ""
	default:
		a.CANext = nil
	}
	a.CAStep++
	x.authority = &a
	x.touch(TableCluster, x.cluster.ID)
	x.happened(api.Event{Kind: api.EventCAKey, Object: x.cluster.ID, Message: fmt.Sprintf("%s (step %d)", caStepText[a.CAStep%CASteps], a.CAStep)})
	return &a, nil
}
