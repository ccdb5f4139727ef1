package admit

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// Enter refuses a command beside a task to a caller who may not be root of a node, if the
// task may be, or may not be who it runs as: it would have all that is theirs.
func Enter(v *fsm.View, id auth.Identity, t *api.Task, s *api.TaskSpec) error {
	if Root(id) {
		return nil
	}
	if s.Lifts() != "" {
		return api.Errorf(api.CodeNotAllowed, "task %s has %s, so only an admin of the cluster may run commands beside it, and you are %s (%s)", t.ID, s.Lifts(), id.Actor, id.Has())
	}
	if !v.Does(fsm.TaskUsers) {
		return nil
	}
	m := MappingOf(v, id.RunAs, t.Partition)
	user := s.RunsAs()
	n := v.Node(t.NodeID)
	switch {
	case user == m.User && user != "root":
	case m.Anybody && (n == nil || n.Attrs[api.AttrAllowRoot] == "yes"):
	case m.Anybody:
		return api.Errorf(api.CodeNotAllowed, "task %s runs as %q on node %s, which allows users no root: ask an admin to run the command, or to start the node with --allow-root", t.ID, user, n.Name)
	default:
		return api.Errorf(api.CodeNotAllowed, "task %s: %s", t.ID, m.Refusal(id.Actor, user, t.Partition))
	}
	return nil
}
