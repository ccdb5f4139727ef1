package cluster

import (
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/budget"
	"github.com/mesita/mesita/fsm"
)

// floodNow is who floods this node, by the name that people know.
func (a *Agent) floodNow() *api.Flood {
	who, of, ok := a.floods.Now()
	if !ok || a.level() < fsm.Floods.Level() {
		return nil
	}
	return &api.Flood{Who: flooderIn(a.store.View(), who), Of: of}
}

func flooderIn(v *fsm.View, who budget.Who) string {
	if who.Name == "" {
		return "a crowd of " + who.Class.String()
	}
	if id, ok := strings.CutPrefix(who.Name, "token "); ok {
		if t := v.Token(id); t != nil && t.Name != "" {
			return "token " + t.Name
		}
	}
	if id, ok := strings.CutPrefix(who.Name, "node "); ok {
		if n := v.Node(id); n != nil {
			return "node " + n.Name
		}
	}
	return who.Name
}
