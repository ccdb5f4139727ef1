package fsm

import (
	"maps"

	"github.com/mesita/mesita/api"
)

// saidField is one thing that a node says of itself.
type saidField struct {
	name string // in events
	// take gives the node what it said, and reports whether that is news.
	take func(*api.Node, *api.NodeHello) bool
}

func sayAs[T any](name string, of func(*api.Node) *T, from func(*api.NodeHello) T, same func(a, b T) bool) saidField {
	return saidField{name, func(n *api.Node, h *api.NodeHello) bool {
		field, is := of(n), from(h)
		was := *field
		*field = is
		return !same(was, is)
	}}
}

func say[T comparable](name string, of func(*api.Node) *T, from func(*api.NodeHello) T) saidField {
	return sayAs(name, of, from, func(a, b T) bool { return a == b })
}

// takeAudit never goes back: an audit that is shorter than it was, or that is not
// told of by a program of before, is held against the mark that was told.
func takeAudit(n *api.Node, h *api.NodeHello) bool {
	was, is := n.Audit, h.Audit
	if is == nil {
		return false
	}
	if was != nil && is.Number < was.Number {
		is = &api.AuditMark{Number: was.Number, Hash: was.Hash, Trouble: is.Trouble}
		if is.Trouble == "" {
			is.Trouble = was.Against(1, h.Audit.Number, "")
		}
	}
	n.Audit = is
	return !was.Equal(is)
}

// said is all that a node says of itself. A test holds that no field of
// api.NodeHello is missing here.
var said = []saidField{
	say("address", func(n *api.Node) *string { return &n.Addr }, func(h *api.NodeHello) string { return h.Addr }),
	say("version", func(n *api.Node) *string { return &n.Version }, func(h *api.NodeHello) string { return h.Version }),
	say("boot", func(n *api.Node) *string { return &n.Boot }, func(h *api.NodeHello) string { return h.Boot }),
	say("voter only", func(n *api.Node) *bool { return &n.VoterOnly }, func(h *api.NodeHello) bool { return h.VoterOnly }),
	say("room on disk", func(n *api.Node) *bool { return &n.DiskFull }, func(h *api.NodeHello) bool { return h.DiskFull }),
	say("whether its keeper answers", func(n *api.Node) *bool { return &n.KeeperSilent }, func(h *api.NodeHello) bool { return h.KeeperSilent }),
	sayAs("attributes", func(n *api.Node) *map[string]string { return &n.Attrs }, func(h *api.NodeHello) map[string]string { return h.Attrs }, maps.Equal),
	sayAs("resources", func(n *api.Node) *api.Resources { return &n.Resources }, func(h *api.NodeHello) api.Resources { return h.Resources }, api.Resources.Equal),
	sayAs("what others have", func(n *api.Node) **api.Outside { return &n.Outside }, func(h *api.NodeHello) *api.Outside { return h.Outside }, (*api.Outside).Equal),
	sayAs("what it had lost", func(n *api.Node) **api.Refill { return &n.Refill }, func(h *api.NodeHello) *api.Refill { return h.Refill }, (*api.Refill).Equal),
	{"its audit", takeAudit},
	sayAs("who floods it", func(n *api.Node) **api.Flood { return &n.Flood }, func(h *api.NodeHello) *api.Flood { return h.Flood }, (*api.Flood).Equal),
	say("whether its log can be written", func(n *api.Node) *string { return &n.LogFault }, func(h *api.NodeHello) string { return h.LogFault }),
	say("session", func(n *api.Node) *string { return &n.Session }, func(h *api.NodeHello) string { return h.Session }),
	say("level", func(n *api.Node) *int { return &n.Level }, func(h *api.NodeHello) int { return h.Level }),
}
