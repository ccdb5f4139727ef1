package ages

import (
	"fmt"
	"time"
)

// Other is why two nodes have nothing to do with each other, as one of them
// sees it.
type Other struct {
	Node     string // name or address of the other
	Own      Line   // of who says it
	Its      Line
	Relation Relation // of the other's age to one's own
}

// Compare is nil for a node of the same age.
func Compare(own, its Line, node string) *Other {
	if r := own.To(its); r != Same {
		return &Other{Node: node, Own: own, Its: its, Relation: r}
	}
	return nil
}

func (o *Other) Error() string {
	switch o.Relation {
	case Later:
		return fmt.Sprintf("node %s is of a later age of the cluster (%s), which this node was not part of: start this node with `mesita node start --rejoin` to continue with it; its raft log is then kept aside, its identity and tasks stay",
			o.Node, o.Its.began())
	case Earlier:
		return fmt.Sprintf("node %s is of an age of the cluster that is over (%s): start it with `mesita node start --rejoin`; its raft log is then kept aside, its identity and tasks stay", o.Node, o.Own.began())
	}
	return fmt.Sprintf("node %s and this node are of two ages of the cluster that began apart (%s there, %s here): decide which continues, and start the nodes of the other with `mesita node start --rejoin --seed ADDRESS` of one that does",
		o.Node, o.Its.began(), o.Own.began())
}

// began tells how an age did.
func (l Line) began() string {
	if len(l) == 0 {
		return "never recovered"
	}
	a := l[len(l)-1]
	return fmt.Sprintf("recovered on %s at %s", a.Node, a.At.Format(time.RFC3339))
}
