package consensus

import (
	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/fsm"
)

// firstCommands is how many entries FirstCommands looks at.
const firstCommands = 4096

// FirstCommands yields what is in the log's first entries, until yield is
// false. Nothing says that it was committed, and a log that was shortened
// begins later: then a snapshot has it.
func (n *Node) FirstCommands(yield func(fsm.Command) bool) {
	first, err := n.stores.logs.FirstIndex()
	if err != nil || first == 0 {
		return
	}
	for i := first; i < first+firstCommands; i++ {
		var l raft.Log
		if n.stores.logs.GetLog(i, &l) != nil {
			return // the end
		}
		if l.Type != raft.LogCommand {
			continue
		}
		cmds, err := fsm.Decode(l.Data)
		if err != nil {
			return
		}
		for _, c := range cmds {
			if !yield(c) {
				return
			}
		}
	}
}
