package api

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Partition is a named share of the cluster, in a tree by path ("ml/train" is
// a child of "ml"). Work is submitted to any of them.
type Partition struct {
	Extra
	Revision  uint64       `json:"revision,omitempty"` // index of the log entry that changed it last
	Path      string       `json:"path"`
	Guarantee Amounts      `json:"guarantee,omitzero"`
	Limit     Amounts      `json:"limit,omitzero"`
	LimitHard bool         `json:"limitHard,omitempty"`
	Weight    Weight       `json:"weight"`
	Priority  int          `json:"priority,omitempty"`
	Nodes     []Constraint `json:"nodes,omitempty"`
	Policy    Policy       `json:"policy,omitempty"`
	Placement Placement    `json:"placement,omitempty"`
	Preempt   Preempt      `json:"preempt,omitempty"`
	TaskRules
	MinRuntime Duration `json:"minRuntime,omitempty"`
	MaxFrozen  Duration `json:"maxFrozen,omitempty"` // 0 = DefaultMaxFrozen
	// What a notice gives comes free by so much later.
	Notice Duration `json:"notice,omitempty"`
	Users  []string `json:"users,omitempty"`
	Roles  []string `json:"roles,omitempty"`
	// Only an admin of the cluster changes the two that follow.
	RunAs     string   `json:"runAs,omitempty"`
	AllowRoot bool     `json:"allowRoot,omitempty"`
	HalfLife  Duration `json:"halfLife,omitempty"`
	Aging     Duration `json:"aging,omitempty"`
	Alpha     Weight   `json:"alpha,omitempty"`
	Beta      Weight   `json:"beta,omitempty"`
	Adjust    *Adjust  `json:"adjust,omitempty"`
	// Current is the guarantee that holds now, if it was moved.
	Current *Amounts  `json:"current,omitempty"`
	Drain   bool      `json:"drain,omitempty"` // takes no new work, and goes when it is empty
	Created time.Time `json:"created,omitzero"`
	Version int       `json:"version,omitempty"` // raised by each change
}

// Keys says what the fields are, in their order.
func (Partition) Keys() []Key {
	return []Key{
		key("path", "its place in the tree of partitions", "", "ml/train"),
		key("guarantee", "the least it can always get", "", "{cpus: 8, mem: 32GiB}"),
		key("limit", "the most it can ever hold; an amount that is not named is not limited", "", "{cpus: 16}"),
		key("limitHard", "the cpus of the limit bound what is used, too, not only what is held", "false", "true"),
		key("weight", "of its share of what is not guaranteed, as room comes free: it takes nothing back", "1", "2.5"),
		key("priority", "whose guarantee is served first: -1000 to 1000", "0", "10"),
		key("nodes", "conditions that a node has to meet to be used", "all nodes", `["zone=a"]`),
		key("policy", "the order in which its jobs are served", "fifo", "fair"),
		key("placement", "how a node is chosen among those that fit", "spread", "pack"),
		key("preempt", "how its tasks give back what was lent", "kill", "freeze"),
		key("minRuntime", "how long a task that was preempted is left alone then", "1m", "10m"),
		key("maxFrozen", "how long a task stays frozen at most: then it ends, and waits to start again", "1h", "8h"),
		key("notice", "how long before its stop signal a task is told that it will be preempted", "not at all", "30s"),
		key("users", "who may submit", "everybody with the right to", "[ann, bob]"),
		key("roles", "of which role one has to be to submit", "any", "[operator]"),
		key("runAs", "the user that tasks of users run as, also in partitions below that say nothing else", "as above it, or mesita-task", "batch"),
		key("allowRoot", "users may say as whom their tasks run, root included, here and below, on nodes that allow it", "false", "true"),
		key("halfLife", "policy fair: the time after which past use counts half", "24h", "7d"),
		key("aging", "policies priority, sjf and srtf: the wait that is worth one step of priority, or half the run time", "10m", "1h"),
		key("alpha", "placement weighted: exponent of the node's weight", "1", "2"),
		key("beta", "placement weighted: exponent of its free share", "1", "0.5"),
		key("adjust", "lets the guarantee move, with demand or by a timetable", "", "{min: {cpus: 2}, max: {cpus: 8}}"),
	}
}

// Asked is a copy with only what an operator asks for, without what the
// cluster keeps itself.
func (p *Partition) Asked() *Partition {
	q := *p
	q.Created, q.Current, q.Drain, q.Version, q.Revision = time.Time{}, nil, false, 0, 0
	return &q
}

// Adjust is how the guarantee of a partition moves between two bounds: with
// its demand, or by a timetable.
type Adjust struct {
	Extra
	Min   Amounts  `json:"min,omitzero"`
	Max   Amounts  `json:"max,omitzero"`
	Hours []Window `json:"hours,omitempty"`
}

// Keys says what the fields are, in their order.
func (Adjust) Keys() []Key {
	return []Key{
		key("min", "the least that the guarantee moves to", "", "{cpus: 2}"),
		key("max", "the most that the guarantee moves to", "", "{cpus: 8}"),
		key("hours", "a guarantee for some hours", "by demand", `["mon-fri 08:00-18:00 Europe/Berlin cpus=8"]`),
	}
}

// Window is a time of the week at which a guarantee holds.
type Window struct {
	Extra
	Days      string  `json:"days,omitempty"`
	From      string  `json:"from"`
	To        string  `json:"to"`
	Zone      string  `json:"zone,omitempty"`
	Guarantee Amounts `json:"guarantee"`
}

// Keys says what the fields are, in their order.
func (Window) Keys() []Key {
	return []Key{
		key("days", "days of the week", "every day", "mon-fri"),
		key("from", "when it begins", "", "08:00"),
		key("to", "when it ends; before from: past midnight", "", "18:00"),
		key("zone", "time zone", "UTC", "Europe/Berlin"),
		key("guarantee", "the guarantee that holds then", "", "{cpus: 8}"),
	}
}

// Policy is the order of the jobs in a partition.
type Policy string

// The queue policies; Policies says what they mean.
const (
	PolicyFIFO     Policy = "fifo"
	PolicySJF      Policy = "sjf"
	PolicySRTF     Policy = "srtf"
	PolicyPriority Policy = "priority"
	PolicyFair     Policy = "fair"
)

// Placement is how a node is chosen among those that fit.
type Placement string

// The placements; Placements says what they mean.
const (
	PlaceSpread   Placement = "spread"
	PlaceClosest  Placement = "closest"
	PlaceWeighted Placement = "weighted"
	PlacePack     Placement = "pack"
)

// Preempt is what may be done to a task to take back what it borrowed.
type Preempt string

// The preemption rules; Preempts says what they mean.
const (
	PreemptKill   Preempt = "kill"
	PreemptFreeze Preempt = "freeze"
	PreemptNever  Preempt = "never"
)

var roleNames = []string{"viewer", "operator", "admin"}

// Defaults of a partition.
const (
	DefaultWeight     Weight = 1000
	DefaultMinRuntime        = Duration(time.Minute)
	DefaultMaxFrozen         = Duration(time.Hour)
	MaxNotice                = Duration(10 * time.Minute)
	DefaultHalfLife          = Duration(24 * time.Hour)
	DefaultAging             = Duration(10 * time.Minute)
	MaxPartitions            = 1000
	maxWeight         Weight = 1000 * 1000
	MaxPriority              = 1000 // of a partition and of a job; the least is its negative
)

// Normalize fills the defaults in. It is called once, where a partition enters.
func (p *Partition) Normalize() {
	setDefault(&p.Weight, DefaultWeight)
	setDefault(&p.Policy, PolicyFIFO)
	setDefault(&p.Placement, PlaceSpread)
	setDefault(&p.Preempt, PreemptKill)
	setDefault(&p.MinRuntime, DefaultMinRuntime)
	setDefault(&p.HalfLife, DefaultHalfLife)
	setDefault(&p.Aging, DefaultAging)
	setDefault(&p.Alpha, 1000)
	setDefault(&p.Beta, 1000)
}

// Validate checks a normalized partition by itself; whether it fits its
// parent, only the state can tell.
func (p *Partition) Validate() error {
	if err := ValidatePartition("path", p.Path); err != nil {
		return err
	}
	if p.Weight <= 0 || p.Weight > maxWeight {
		return FieldErrorf("weight", "%s is not above 0 and at most %s", p.Weight, maxWeight)
	}
	if p.Priority < -MaxPriority || p.Priority > MaxPriority {
		return FieldErrorf("priority", "%d is not within -%d to %d", p.Priority, MaxPriority, MaxPriority)
	}
	if err := oneOf("policy", p.Policy, Names(Policies())); err != nil {
		return err
	}
	if err := oneOf("placement", p.Placement, Names(Placements())); err != nil {
		return err
	}
	if err := oneOf("preempt", p.Preempt, Names(Preempts())); err != nil {
		return err
	}
	if err := p.validateAmounts(); err != nil {
		return err
	}
	if err := p.TaskRules.validate(); err != nil {
		return err
	}
	if err := validateConstraints("nodes", p.Nodes); err != nil {
		return err
	}
	return p.validateRest()
}

func (p *Partition) validateAmounts() error {
	if err := InField("guarantee", p.Guarantee.Validate()); err != nil {
		return err
	}
	if err := InField("limit", p.Limit.Validate()); err != nil {
		return err
	}
	if p.LimitHard && p.Limit.CPUs == 0 {
		return FieldErrorf("limitHard", "the limit names no cpus that it could bound: name them, such as cpus=4, or take it away with --limit-hard=false")
	}
	if over := p.Guarantee.over(p.Limit); over != "" {
		return FieldErrorf("guarantee", "%s is above the limit: raise the limit or lower the guarantee", over)
	}
	if p.Adjust == nil {
		return nil
	}
	return InField("adjust", p.Adjust.validate(p.Limit))
}

func (a *Adjust) validate(limit Amounts) error {
	if err := InField("min", a.Min.Validate()); err != nil {
		return err
	}
	if err := InField("max", a.Max.Validate()); err != nil {
		return err
	}
	if over := a.Min.over(a.Max.orNothing(a.Min)); over != "" {
		return FieldErrorf("min", "%s is above max", over)
	}
	if over := a.Max.over(limit); over != "" {
		return FieldErrorf("max", "%s is above the limit", over)
	}
	if len(a.Hours) > 64 {
		return FieldErrorf("hours", "has %d entries, at most 64 are allowed", len(a.Hours))
	}
	for _, w := range a.Hours {
		if err := InField("hours", w.validate(a)); err != nil {
			return err
		}
	}
	return nil
}

func (p *Partition) validateRest() error {
	for _, f := range []struct {
		name string
		d    Duration
		most Duration
	}{{"minRuntime", p.MinRuntime, Duration(24 * time.Hour)}, {"halfLife", p.HalfLife, Duration(10000 * time.Hour)}, {"aging", p.Aging, Duration(10000 * time.Hour)}} {
		if f.d < Duration(time.Second) || f.d > f.most {
			return FieldErrorf(f.name, "%s is not within 1s to %s", f.d, f.most)
		}
	}
	if p.MaxFrozen != 0 && (p.MaxFrozen < Duration(time.Second) || p.MaxFrozen > Duration(10000*time.Hour)) {
		return FieldErrorf("maxFrozen", "%s is not within 1s to 10000h: leave it out for %s", p.MaxFrozen, DefaultMaxFrozen)
	}
	if p.Notice != 0 && (p.Notice < Duration(time.Second) || p.Notice > MaxNotice) {
		return FieldErrorf("notice", "%s is not within 1s to %s, by which a guarantee may come late: leave it out for no notice", p.Notice, MaxNotice)
	}
	if p.Notice != 0 && p.Preempt == PreemptNever {
		return FieldErrorf("notice", "nothing is taken from the partition's tasks (preempt never): leave it out, or set preempt to kill or freeze")
	}
	if p.Alpha <= 0 || p.Alpha > 10_000 || p.Beta <= 0 || p.Beta > 10_000 {
		return FieldErrorf("alpha", "alpha and beta are exponents from 0.001 to 10: 0.001 hardly counts")
	}
	if len(p.Users) > 1000 || len(p.Roles) > len(roleNames) {
		return FieldErrorf("users", "at most 1000 users and %d roles are allowed", len(roleNames))
	}
	for _, u := range p.Users {
		if u == "" || len(u) > 2*MaxName || strings.ContainsAny(u, " \n\x00,") {
			return FieldErrorf("users", "%q is not a user name", u)
		}
	}
	for _, r := range p.Roles {
		if err := oneOf("roles", r, roleNames); err != nil {
			return err
		}
	}
	return validateUser("runAs", p.RunAs)
}

func oneOf[T ~string](field string, v T, all []T) error {
	if slices.Contains(all, v) {
		return nil
	}
	names := make([]string, len(all))
	for i, a := range all {
		names[i] = string(a)
	}
	return FieldErrorf(field, "%q is none of %s", v, strings.Join(names, ", "))
}

// Parent is the path of the partition above, "" at the top.
func (p *Partition) Parent() string { return ParentPath(p.Path) }

// ParentPath is the path above that path, "" at the top.
func ParentPath(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}

// PathWithin reports whether a partition is another one, or below it.
func PathWithin(path, top string) bool {
	return path == top || len(path) > len(top) && path[:len(top)] == top && path[len(top)] == '/'
}

// Guaranteed is the guarantee that holds now.
func (p *Partition) Guaranteed() Amounts {
	if p.Current != nil {
		return *p.Current
	}
	return p.Guarantee
}

// FrozenAtMost is how long its tasks stay frozen at most. It is not a default of
// Normalize, which also fills in what older programs wrote.
func (p *Partition) FrozenAtMost() time.Duration {
	return time.Duration(cmp.Or(p.MaxFrozen, DefaultMaxFrozen))
}

// Uses reports whether the partition may use that node.
func (p *Partition) Uses(n *Node) bool {
	for _, c := range p.Nodes {
		if !c.Match(n.Name, n.Attrs) {
			return false
		}
	}
	return true
}

// PartitionUsage is what the tasks of a partition, and the offers to its
// frameworks, hold, those below it not counted.
type PartitionUsage struct {
	Allocated Resources `json:"allocated"`        // by tasks, without port numbers
	Offered   Resources `json:"offered,omitzero"` // likewise by offers
	// Reserved is what of Allocated is reserved, used or not; of a framework, what it uses
	// of that.
	Reserved     Resources `json:"reserved,omitzero"`
	Reservations int       `json:"reservations,omitempty"`

	Starting int     `json:"starting"`
	Running  int     `json:"running"`
	Frozen   int     `json:"frozen"`
	Pending  int     `json:"pending"`
	Held     int     `json:"held,omitempty"`  // of those, tasks of jobs that are on hold
	Wanted   Amounts `json:"wanted,omitzero"` // by the others that wait
}

// CPUBound is a partition whose limit bounds what its tasks use, on all nodes
// together. A node's part of it is by what its own tasks were promised.
type CPUBound struct {
	Partition string   `json:"partition"`
	Limit     MilliCPU `json:"limit"`
	Requested MilliCPU `json:"requested"` // by what its tasks hold on all nodes, those below it included
}

// Charged is what counts to the partition's share, guarantee and limit.
func (u *PartitionUsage) Charged() Resources { return u.Allocated.Add(u.Offered) }

// PartitionStatus is a partition as a reader sees it, those below it included.
type PartitionStatus struct {
	*Partition
	PartitionUsage
	Capacity Resources `json:"capacity"`           // of the nodes it may use
	Lent     Amounts   `json:"lent,omitzero"`      // guaranteed and used by others
	Borrowed Amounts   `json:"borrowed,omitzero"`  // used beyond the guarantee
	Share    float64   `json:"share"`              // the largest share of any one resource that it holds
	Fair     float64   `json:"fair"`               // the share it is entitled to while others want theirs
	Leaving  int       `json:"leaving,omitempty"`  // tasks that run, and were told to end in a while
	Oldest   time.Time `json:"oldest,omitzero"`    // when its longest waiting job was submitted
	Sharing  *Sharing  `json:"sharing,omitempty"`  // how it came out lately; none: nothing is known yet
	Warnings []string  `json:"warnings,omitempty"` //
}

// Sharing is how the sharing of a cluster came out for one partition, those below it
// not counted. Shares are of the whole cluster, of any one resource the largest.
type Sharing struct {
	Since      time.Time `json:"since"`                // what was before is not counted: the leader changed, or it is long ago
	Idle       float64   `json:"idle"`                 // free now, and kept for its task that waits first
	IdleMean   float64   `json:"idleMean"`             // the same, averaged since then
	Waited     Duration  `json:"waited,omitzero"`      // for how long a task of it waited first for room
	Error      float64   `json:"error"`                // what it held less what it was entitled to, averaged over that time
	Promised   int       `json:"promised"`             // tasks that started since, after they had waited first and were promised a time, by ends that nodes see to
	Late       int       `json:"late"`                 // those that started later than that, by more than what is told to end then may take
	LatestLate Duration  `json:"latestLate,omitempty"` // by how much, at most
}

// PartitionChange is what making or changing a partition did or would do.
type PartitionChange struct {
	Partition *Partition `json:"partition"`
	Action    string     `json:"action"` // "create", "update", "remove", "nothing"
	// Of a plan: what changes field by field, which tasks would be preempted, and how
	// many that wait would start.
	Changes   []FieldChange `json:"changes,omitempty"`
	Reclaimed []string      `json:"reclaimed,omitempty"`
	Starts    int           `json:"starts,omitempty"`
	Warnings  []string      `json:"warnings,omitempty"`
}

// Offer is resources of one node set aside for one framework for a short time.
type Offer struct {
	Extra
	Revision  uint64    `json:"revision,omitempty"` // index of the log entry that changed it last
	ID        string    `json:"id"`
	Framework string    `json:"framework"`
	Partition string    `json:"partition"`
	NodeID    string    `json:"nodeID"`
	Resources Resources `json:"resources"`
	// Reserved is what it has beside them of the partition's reservations.
	Reserved []Reserved `json:"reserved,omitempty"`
	Created  time.Time  `json:"created,omitzero"`
	Expires  time.Time  `json:"expires,omitzero"`
}
