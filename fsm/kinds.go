package fsm

import (
	"fmt"
	"reflect"
)

// kind is one kind of command: how to make one, and the level that the cluster
// must have before one may be in its log.
type kind struct {
	make    func() Command
	level   Level
	squeeze bool // a large one is compressed: see squeeze
}

func of[T any, P interface {
	*T
	Command
}](level Level) kind {
	return kind{make: func() Command { return P(new(T)) }, level: level}
}

func squeezed(k kind) kind {
	k.squeeze = true
	return k
}

// kinds are all kinds of commands by their number in the log. Append only;
// never reuse a number. A new kind needs a level at which no node is that does
// not know it: an unknown kind halts a voter.
var kinds = []kind{
	1:  of[ClusterInit](0),
	2:  of[NodeJoin](0),
	3:  of[NodeHello](0),
	4:  of[NodeState](0),
	5:  of[NodeDrain](0),
	6:  of[NodeRemove](0),
	7:  of[JobCreate](0),
	8:  of[JobUpdate](0),
	9:  of[JobScale](0),
	10: of[JobStop](0),
	11: of[JobRemove](0),
	12: of[TaskCreate](0),
	13: of[TaskPlace](0),
	14: of[TaskReport](0),
	15: of[TaskStop](0),
	16: of[PartitionPut](0),
	17: of[OfferMake](0),
	18: of[OfferRemove](0),
	19: of[TokenCreate](0),
	20: of[TokenRevoke](0),
	21: of[BlobPut](0),
	22: of[BlobRemove](0),
	23: of[PartitionRemove](0),
	24: of[PartitionAdjust](0),
	25: of[TaskPreempt](0),
	26: of[TaskThaw](0),
	27: of[ClusterRecovered](0),
	28: of[LevelSet](0), // proposed only when all voters know it: cluster's level loop sees to that
	29: of[NodeTrial](1),
	30: of[StateCheck](1),
	31: of[NodeClaim](1),
	32: of[IncidentClose](1),
	33: of[NodeAway](1),
	34: of[NodeRelease](1),
	35: of[NodeClock](1),
	36: of[Forget](3),
	37: of[GossipKey](3),
	38: of[TokenRights](3),
	39: of[NodePromote](4),
	40: of[ClusterSet](4),
	41: of[CARotate](4),
	42: of[NodeDemote](4),
	43: of[JobSet](5),
	44: of[JobHold](5),
	45: of[JobRequeue](5),
	46: of[TaskLeave](7),
	47: squeezed(of[ApplyAll](8)),
	48: of[FrameworkPut](11),
	49: of[FrameworkLeave](11),
	50: of[FrameworkRemove](11),
	51: of[FrameworkAccept](11),
	52: of[FrameworkKill](11),
	53: of[FrameworkAck](11),
	54: of[FrameworkShutdown](11),
	55: of[ReservationChange](11),
}

// numbers are the kinds' numbers by type.
var numbers = func() map[reflect.Type]int {
	m := make(map[reflect.Type]int, len(kinds))
	for n, k := range kinds {
		if k.make != nil {
			m[reflect.TypeOf(k.make())] = n
		}
	}
	return m
}()

func kindOf(c Command) int {
	n, ok := numbers[reflect.TypeOf(c)]
	if !ok {
		panic(fmt.Sprintf("fsm: %T has no number: add it to kinds", c))
	}
	return n
}
