package fsm

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
)

// Level is what all programs of a cluster know. It is part of the state, only
// ever rises, and is 0 in a cluster that was made before there were levels.
// What apply does, which commands may be in the log and which fields they may
// have follow from it, never from the version of one program: so voters of two
// versions agree. It is raised once all nodes run a program that knows the
// next one (see LevelSet); a new cluster begins with Newest.
type Level int

// Newest is the highest level that this program knows.
const Newest Level = 12

// Feature is something that apply, or a node, does only from some level on.
type Feature uint8

// The features. The order has no meaning outside of this program.
const (
	Levels          Feature = iota // a node says in its hello which level it knows
	IntegerLearning                // what is learned of earlier runs is kept in integers
	FailedStarts                   // a start that failed is made again elsewhere, and costs no retry
	Sessions                       // one start of a node's daemon holds its identity
	RemovedKeys                    // a node that was removed comes back with another key only, so that the proof of its removal stays true
	StateChecks                    // the voters compare their states
	StoppedTasks                   // what was stopped is counted as such, and not as failed or not at all
	IncidentsEnd                   // incidents of what is stopped, removed or gone are over, and a node that was stopped is one
	NodeClocks                     // the leader compares the clocks of the nodes, and tells which are off
	Revisions                      // each noun has the index of the log entry that changed it last
	AwayNodes                      // a node whose daemon is away keeps its tasks while their parent answers
	ScaledAgain                    // a task that was ended as a service was scaled down begins anew if the service wants it again by then
	FreshVersions                  // what a version's tasks did wrong is not held against those of the next, or who is restarted by hand
	LiveLimits                     // a service's CPU limit is another for the tasks that run, and no new version
	ProcessSpecs                   // a task says what bounds each of its processes, and which group it is of
	MemLimits                      // a task may use more memory than it is guaranteed
	Pins                           // a task may have whole CPUs of its node for its own
	LeastRights                    // nodes pass on what users show, voters say so in their certificates, and a node's word counts for itself alone
	GossipKeys                     // the key of gossip changes when a node is removed
	StoppedUnmade                  // one task of an array that waits, or of a service that has not made it yet, is stopped by itself
	PlainWords                     // events say "1 task", and what becomes of tasks that may not start elsewhere
	ForgetByAge                    // what is old is removed by a command of its own, which a leader proposes whose clock is that of most voters
	OutsideUse                     // what other programs have of a node is not given to tasks, and is not a failure of theirs
	RefilledVoters                 // a voter tells what it had lost when it started, and was sent again
	FinishedMoves                  // a batch task that finished by itself before it was moved is finished
	OldPrograms                    // a node whose program is below the level of the cluster is told apart, and gets no new work
	Unconfined                     // a task is without parts of what confines the others
	SilentKeepers                  // a node says that the parent of its tasks does not answer
	LocalAdmins                    // that root of a machine is an admin can be forbidden
	AuditMarks                     // a node tells how far its audit is, so that what is cut off is found
	CAChanges                      // the key of the CA is changed while the cluster runs
	VoterTokens                    // who joins may become a voter only if the token says so, or few may yet; the right is given later, too
	ShortRuns                      // an attempt that is over before it was reported to run shows, too, that its node starts tasks
	TaskUsers                      // who the tasks of users run as follows from their token or partition, and is not root
	Floods                         // a node says who floods it
	PlaceRules                     // apply keeps the rules of where a task may go, whatever was decided when they were others
	SameZones                      // apply does not ask a machine which time zones it knows
	RunningVersions                // a version of a job is remembered for as long as a task of it is there
	Accounts                       // what attempts held, used and lost is summed up by the day
	WaitingChanges                 // a job that waits is set, held and released, and one that runs is put back
	JobPlaces                      // a job says in which partitions it was, and since which event
	ToldChanges                    // each change of what lists show is told by an event
	RunningRules                   // a partition bounds how many of its tasks run, and of each user's
	OneRoot                        // root of all nodes is one user to bounds of what runs, to shares and to reports
	LogFaults                      // a voter says why it cannot write its log
	PinnedTokens                   // a client token says which CA the cluster has
	Notices                        // a task is told some time before that it is to be preempted
	WidelyFailed                   // starts of one user alone leave no node alone that others use, too
	RightsTold                     // a token says since which event it has its rights
	WhatChanged                    // an event of a node says what changed
	OfferLoans                     // an offer counts to its partition, and is taken back by the placement that needs its room
	CertAddresses                  // who signs a node's certificate names the address at which it met the node
	AppliedWhole                   // partitions and jobs are changed together, all of them or none
	Versions                       // conditions compare versions part by part
	Files                          // files are put into a task's folder before it starts
	Frameworks                     // programs outside the cluster take offers and start tasks
	KeptFetches                    // a node keeps what a task had fetched for others, if that asks for it
	Volumes                        // folders of nodes last from one task to the next
)

// Holder says who must know a feature before it is used.
type Holder uint8

// Whoever applies the log must know all of it, so each feature asks for the
// level of the cluster. Beyond that, a node that came back with an old program
// may be asked for more than it knows: see View.NodeDoes.
const (
	Voters     Holder = iota // and nobody else
	ReadyNodes               // each that is given work
	TaskNode                 // the one that a task is placed on
	TaskKeeper               // the keeper there, which may be older than the daemon
)

// features says which level each needs, and who must have it.
var features = [...]struct {
	level Level
	who   Holder
}{
	Levels:          {1, ReadyNodes},
	IntegerLearning: {1, Voters},
	FailedStarts:    {1, Voters},
	RemovedKeys:     {1, Voters},
	StoppedTasks:    {1, Voters},
	IncidentsEnd:    {1, Voters},
	NodeClocks:      {1, Voters},
	Revisions:       {1, Voters},
	StateChecks:     {1, Voters},
	Sessions:        {1, ReadyNodes},
	AwayNodes:       {1, Voters}, // a keeper that does not know it is silent
	ScaledAgain:     {2, Voters},
	FreshVersions:   {2, Voters},
	ProcessSpecs:    {2, TaskNode},
	MemLimits:       {3, TaskNode},
	Pins:            {3, TaskNode},
	LeastRights:     {3, ReadyNodes},
	LiveLimits:      {3, TaskNode}, // one that does not know it continues with the limit of its start
	GossipKeys:      {3, ReadyNodes},
	StoppedUnmade:   {3, Voters},
	PlainWords:      {3, Voters},
	ForgetByAge:     {3, Voters},
	OutsideUse:      {3, Voters},
	RefilledVoters:  {3, Voters},
	OldPrograms:     {3, Voters},
	Unconfined:      {4, TaskNode},
	SilentKeepers:   {3, Voters},
	FinishedMoves:   {3, Voters},
	VoterTokens:     {4, Voters},
	AuditMarks:      {4, Voters},
	LocalAdmins:     {4, Voters},
	ShortRuns:       {4, Voters},
	TaskUsers:       {4, TaskNode}, // as one that does not know it has no user of that name
	Floods:          {4, Voters},
	PlaceRules:      {4, Voters},
	SameZones:       {4, Voters},
	RunningVersions: {4, Voters},
	Accounts:        {4, Voters},
	WaitingChanges:  {5, Voters},
	CAChanges:       {4, ReadyNodes},
	JobPlaces:       {5, Voters},
	RunningRules:    {6, Voters},
	OneRoot:         {7, Voters},
	ToldChanges:     {7, Voters},
	LogFaults:       {7, Voters},
	Notices:         {7, TaskNode},
	PinnedTokens:    {8, ReadyNodes}, // others take the pin for a part of the secret
	WidelyFailed:    {8, Voters},
	RightsTold:      {8, Voters},
	WhatChanged:     {8, Voters},
	OfferLoans:      {8, Voters},
	CertAddresses:   {8, Voters},
	AppliedWhole:    {8, Voters},
	Versions:        {10, Voters},
	Files:           {10, TaskNode},
	Frameworks:      {11, Voters},
	KeptFetches:     {12, Voters}, // a node that does not know it fetches anew
	Volumes:         {12, TaskNode},
}

// Level is the cluster's from which it is done.
func (f Feature) Level() Level { return features[f].level }

// field is a field of a command that not every level has.
type field struct {
	kind  int
	name  string
	level Level
	used  func(Command) bool
}

func fieldOf[P Command](name string, level Level, used func(P) bool) field {
	return field{kind: numbers[reflect.TypeFor[P]()], name: name, level: level, used: func(c Command) bool { return used(c.(P)) }}
}

// fields are those that were added to commands, and to the nouns in them, since
// level 0. A voter below the level would drop the field and apply something
// else.
var fields = []field{
	fieldOf("ifRevision", 1, func(c *JobCreate) bool { return c.IfRevision != 0 }),
	fieldOf("ifRevision", 1, func(c *JobUpdate) bool { return c.IfRevision != 0 }),
	fieldOf("ifRevision", 1, func(c *PartitionPut) bool { return c.IfRevision != 0 }),
	fieldOf("hello.session", 1, func(c *NodeHello) bool { return c.Hello.Session != "" }),
	fieldOf("spec.atMostOnce", 1, func(c *JobCreate) bool { return c.Spec != nil && c.Spec.AtMostOnce }),
	fieldOf("spec.atMostOnce", 1, func(c *JobUpdate) bool { return c.Spec != nil && c.Spec.AtMostOnce }),
	// The highest first, which is what a spec needs: one is told.
	fieldOf("spec.array of more than 50,000 tasks", 6, func(c *JobCreate) bool {
		return c.Spec != nil && c.Spec.Kind == api.KindBatch && c.Spec.Tasks() > api.SmallArray
	}),
	fieldOf("spec.constraints or prefer of versions", 10, func(c *JobCreate) bool { return specByVersion(c.Spec) }),
	fieldOf("spec.constraints or prefer of versions", 10, func(c *JobUpdate) bool { return specByVersion(c.Spec) }),
	fieldOf("spec.constraints or prefer of versions", 10, func(c *JobSet) bool { return specByVersion(c.Spec) }),
	fieldOf("partition.nodes of versions", 10, func(c *PartitionPut) bool { return c.Partition != nil && byVersion(c.Partition.Nodes) }),
	fieldOf("spec.files", 10, func(c *JobCreate) bool { return SpecLevel(c.Spec) >= 10 }),
	fieldOf("spec.files", 10, func(c *JobUpdate) bool { return SpecLevel(c.Spec) >= 10 }),
	fieldOf("spec.files", 10, func(c *JobSet) bool { return SpecLevel(c.Spec) >= 10 }),
	fieldOf("spec.noticeSignal", 7, func(c *JobCreate) bool { return SpecLevel(c.Spec) >= 7 }),
	fieldOf("spec.noticeSignal", 7, func(c *JobUpdate) bool { return SpecLevel(c.Spec) >= 7 }),
	fieldOf("spec.noticeSignal", 7, func(c *JobSet) bool { return SpecLevel(c.Spec) >= 7 }),
	fieldOf("partition.notice", 7, func(c *PartitionPut) bool { return c.Partition != nil && c.Partition.Notice != 0 }),
	fieldOf("spec.user mesita-task", 4, func(c *JobCreate) bool { return c.Spec != nil && c.Spec.User == api.TaskUser }),
	fieldOf("spec.user mesita-task", 4, func(c *JobUpdate) bool { return c.Spec != nil && c.Spec.User == api.TaskUser }),
	fieldOf("spec.unconfined", 4, func(c *JobCreate) bool { return c.Spec != nil && len(c.Spec.Unconfined) > 0 }),
	fieldOf("spec.unconfined", 4, func(c *JobUpdate) bool { return c.Spec != nil && len(c.Spec.Unconfined) > 0 }),
	fieldOf("spec.memLimit or pin", 3, func(c *JobCreate) bool { return SpecLevel(c.Spec) >= 3 }),
	fieldOf("spec.memLimit or pin", 3, func(c *JobUpdate) bool { return SpecLevel(c.Spec) >= 3 }),
	fieldOf("spec.ulimits, nice, cpuLimit or user", 2, func(c *JobCreate) bool { return SpecLevel(c.Spec) >= 2 }),
	fieldOf("spec.ulimits, nice, cpuLimit or user", 2, func(c *JobUpdate) bool { return SpecLevel(c.Spec) >= 2 }),
	fieldOf("hello.resources.memExtra or pins", 3, func(c *NodeHello) bool { return ofLevel3(c.Hello.Resources) }),
	fieldOf("resources.memExtra or pins", 3, func(c *OfferMake) bool {
		return slices.ContainsFunc(c.Offers, func(o *api.Offer) bool { return ofLevel3(o.Resources) })
	}),
	fieldOf("offers.reserved", 11, func(c *OfferMake) bool {
		return slices.ContainsFunc(c.Offers, func(o *api.Offer) bool { return len(o.Reserved) > 0 })
	}),
	fieldOf("resources.memExtra or pins", 3, func(c *TaskPlace) bool {
		return slices.ContainsFunc(c.Placements, func(p Placement) bool { return p.Resources != nil && ofLevel3(*p.Resources) })
	}),
	fieldOf("placements.rescind", 8, func(c *TaskPlace) bool {
		return slices.ContainsFunc(c.Placements, func(p Placement) bool { return len(p.Rescind) > 0 })
	}),
	fieldOf("hello.outside", 3, func(c *NodeHello) bool { return c.Hello.Outside != nil }),
	fieldOf("hello.keeperSilent", 3, func(c *NodeHello) bool { return c.Hello.KeeperSilent }),
	fieldOf("hello.audit", 4, func(c *NodeHello) bool { return c.Hello.Audit != nil }),
	fieldOf("hello.flood", 4, func(c *NodeHello) bool { return c.Hello.Flood != nil }),
	fieldOf("hello.logFault", 7, func(c *NodeHello) bool { return c.Hello.LogFault != "" }),
	fieldOf("hello.refill", 3, func(c *NodeHello) bool { return c.Hello.Refill != nil }),
	fieldOf("statuses.taken", 3, func(c *TaskReport) bool {
		return slices.ContainsFunc(c.Statuses, func(s api.TaskStatus) bool { return len(s.Taken) > 0 })
	}),
	fieldOf("statuses.used or started", 4, func(c *TaskReport) bool {
		return slices.ContainsFunc(c.Statuses, func(s api.TaskStatus) bool { return s.Used != nil || s.Started != nil })
	}),
	fieldOf("statuses.healthy, check or update", 11, func(c *TaskReport) bool {
		return slices.ContainsFunc(c.Statuses, func(s api.TaskStatus) bool { return s.Healthy != nil || s.Check != nil || s.Update != nil })
	}),
	fieldOf("tasks.spec.fetch.cache", 12, func(c *FrameworkAccept) bool {
		return slices.ContainsFunc(c.Tasks, func(l FrameworkLaunch) bool {
			return keepsFetches(l.Task) || l.Executor != nil && keepsFetches(l.Executor.Task)
		})
	}),
	fieldOf("steps of volumes", 12, func(c *ReservationChange) bool { return slices.ContainsFunc(c.Steps, ofVolume) }),
	fieldOf("conversions of volumes", 12, func(c *FrameworkAccept) bool {
		return slices.ContainsFunc(c.Conversions, func(n Conversion) bool { return slices.ContainsFunc(n.Steps, ofVolume) })
	}),
	fieldOf("tasks with volumes", 12, func(c *FrameworkAccept) bool { return slices.ContainsFunc(c.Tasks, withVolumes) }),
	fieldOf("sessions", 11, func(c *OfferMake) bool { return len(c.Sessions) > 0 }),
	fieldOf("attempt", 11, func(c *TaskStop) bool { return c.Attempt != 0 }),
	fieldOf("day", 4, func(c *Forget) bool { return c.Day != 0 }),
	fieldOf("partition.limitHard", 3, func(c *PartitionPut) bool { return c.Partition != nil && c.Partition.LimitHard }),
	fieldOf("partition.adjust.hours until 24:00", 4, func(c *PartitionPut) bool {
		return c.Partition != nil && c.Partition.Adjust != nil && slices.ContainsFunc(c.Partition.Adjust.Hours, api.Window.UntilMidnight)
	}),
	fieldOf("token.workerOnly", 3, func(c *TokenCreate) bool { return c.Token != nil && c.Token.WorkerOnly }),
	fieldOf("token.rightsSince", 8, func(c *TokenCreate) bool { return c.Token != nil && c.Token.RightsSince != 0 }),
	fieldOf("token.rights", 3, func(c *TokenCreate) bool { return c.Token != nil && len(c.Token.Rights) > 0 }),
	fieldOf("outdated", 3, func(c *NodeHello) bool { return c.Outdated }),
	fieldOf("partition.maxFrozen", 4, func(c *PartitionPut) bool { return c.Partition != nil && c.Partition.MaxFrozen != 0 }),
	fieldOf("partition.maxRunning or maxRunningPerUser", 6, func(c *PartitionPut) bool {
		return c.Partition != nil && (c.Partition.MaxRunning != 0 || c.Partition.MaxRunningPerUser != 0)
	}),
	fieldOf("partition.default or max of time, cpus, mem or waiting", 4, func(c *PartitionPut) bool {
		return c.Partition != nil && c.Partition.TaskRules != (api.TaskRules{})
	}),
	fieldOf("filled", 4, func(c *JobCreate) bool { return len(c.Filled) > 0 }),
	fieldOf("filled", 4, func(c *JobUpdate) bool { return len(c.Filled) > 0 }),
	fieldOf("partition.runAs or allowRoot", 4, func(c *PartitionPut) bool {
		return c.Partition != nil && (c.Partition.RunAs != "" || c.Partition.AllowRoot)
	}),
	fieldOf("token.runAs", 4, func(c *TokenCreate) bool { return c.Token != nil && c.Token.RunAs != "" }),
	fieldOf("hello.level", 1, func(c *NodeHello) bool { return c.Hello.Level != 0 }),
}

func keepsFetches(t *api.FrameworkTask) bool {
	return t != nil && t.Spec != nil && slices.ContainsFunc(t.Spec.Fetch, func(f api.Fetch) bool { return f.Cache })
}

func specByVersion(s *api.JobSpec) bool {
	return s != nil && (byVersion(s.Constraints) || byVersion(s.Prefer))
}

func byVersion(cs []api.Constraint) bool {
	return slices.ContainsFunc(cs, func(c api.Constraint) bool { return c.ByVersion })
}

// ofLevel3 reports whether resources have what they could not before.
func ofLevel3(r api.Resources) bool { return r.MemExtra != 0 || r.Pins != 0 }

// SpecLevel is the level that the program of a node must know to run a task as
// its spec says.
func SpecLevel(s *api.JobSpec) Level {
	if s != nil && len(s.Volumes) > 0 {
		return features[Volumes].level
	}
	if s != nil && (len(s.Fetch) > 0 || s.Check != nil || s.Health != nil || s.TTY != nil) {
		return features[Frameworks].level
	}
	if s != nil && len(s.Files) > 0 {
		return features[Files].level
	}
	if s != nil && s.NoticeSignal != "" {
		return features[Notices].level
	}
	if s != nil && (s.User == api.TaskUser || len(s.Unconfined) > 0) {
		return features[Unconfined].level // and that of TaskUsers
	}
	if s != nil && (s.MemLimit != 0 || s.Pin) {
		return features[MemLimits].level // and that of Pins
	}
	if s != nil && (len(s.Ulimits) > 0 || s.Nice != 0 || s.CPULimit != 0 || strings.Contains(s.User, ":")) {
		return features[ProcessSpecs].level
	}
	return 0
}

// Level is the cluster's.
func (v *View) Level() Level { return v.t.level }

// Does reports whether the cluster's level has a feature.
func (v *View) Does(f Feature) bool { return v.t.does(f) }

func (t *tables) does(f Feature) bool { return t.level.Has(f) }

// Has reports whether a cluster at the level has a feature.
func (l Level) Has(f Feature) bool { return l >= features[f].level }

// NodeDoes reports whether the cluster has a feature and that node knows it.
func (v *View) NodeDoes(f Feature, n *api.Node) bool { return v.t.nodeDoes(f, n) }

func (t *tables) nodeDoes(f Feature, n *api.Node) bool {
	return t.does(f) && (features[f].who == Voters || Level(n.Level) >= features[f].level)
}

// Allows refuses a command that the cluster's level does not have. Whoever
// writes to the log asks it first.
func (v *View) Allows(c Command) error {
	if err := v.settled(c); err != nil {
		return err
	}
	if v.t.level >= Newest || v.t.cluster == nil {
		return nil
	}
	if all, ok := c.(*ApplyAll); ok {
		for _, part := range all.parts() {
			if err := v.Allows(part); err != nil {
				return err
			}
		}
	}
	n := kindOf(c)
	if need := kinds[n].level; need > v.t.level {
		return v.below(reflect.TypeOf(c).Elem().Name(), need)
	}
	for _, f := range fields {
		if f.kind == n && f.level > v.t.level && f.used(c) {
			return v.below(reflect.TypeOf(c).Elem().Name()+"."+f.name, f.level)
		}
	}
	return nil
}

func (v *View) below(what string, need Level) error {
	remedy := "upgrade the nodes first that `mesita cluster level` names"
	if v.remedy != nil {
		remedy = v.remedy(need)
	}
	return api.Errorf(api.CodeConflict, "%s needs level %d of the cluster, which is at level %d: %s", what, need, v.t.level, remedy)
}

// TakesJoin refuses a node that is new, and whose program is older than the level
// of the cluster. Programs from before level 3 do not say what they know when
// they join: below it they are looked at in their first hello.
func (v *View) TakesJoin(nodeID string, knows Level) error {
	if n := v.Node(nodeID); knows >= v.t.level || n != nil && n.State != api.NodeGone || knows == 0 && !v.Does(OldPrograms) {
		return nil
	}
	return v.tooOld(api.CodeConflict)
}

// TakesHello refuses the first hello of such a node. One that was taken before
// keeps its tasks: see OldPrograms.
func (v *View) TakesHello(nodeID string, knows Level) error {
	if n := v.Node(nodeID); knows >= v.t.level || n == nil || n.Version != "" {
		return nil
	}
	return v.tooOld(api.CodeNotAllowed)
}

func (v *View) tooOld(c api.Code) error {
	return api.Errorf(c, "the program of this node is older than level %d, at which the cluster is: upgrade mesita on this node first", v.t.level)
}

// LevelSet raises the level of the cluster. It is proposed at a lower level
// than its own kind would need: whoever proposes it has made sure that all
// voters know it. Its value is the Level.
type LevelSet struct {
	Meta
	Level Level `json:"level"`
}

func (c *LevelSet) apply(x *tx) (any, error) {
	switch {
	case x.cluster == nil:
		return nil, conflict("the cluster is not made yet")
	case c.Level <= x.level:
		return nil, conflict("the cluster is at level %d already, and a level never sinks", x.level)
	}
	was := x.level
	for x.level < c.Level {
		x.level++
		x.reached(x.level)
	}
	x.touch(TableCluster, x.cluster.ID)
	x.happened(api.Event{Kind: api.EventClusterLevel, Object: x.cluster.ID, Message: fmt.Sprintf("%d to %d: all nodes know it, and older programs no longer take part", was, x.level)})
	return x.level, nil
}

// reached changes what is stored to what a level asks for, at the one index at
// which the cluster comes to it.
func (x *tx) reached(l Level) {
	if l == features[IntegerLearning].level {
		x.learnIntegers()
	}
	if l == features[StoppedTasks].level {
		x.countStopped()
	}
	if l == features[IncidentsEnd].level {
		x.closeStale()
	}
}

// readable fails if a command brings a level that this program does not know:
// a replica that continued would diverge.
func readable(c Command) error {
	level := Level(0)
	switch c := c.(type) {
	case *LevelSet:
		level = c.Level
	case *ClusterInit:
		level = c.Level
	}
	return level.known()
}

func (l Level) known() error {
	if l > Newest {
		return fmt.Errorf("the cluster is at level %d, this program knows levels up to %d: upgrade mesita on this node", l, Newest)
	}
	return nil
}
