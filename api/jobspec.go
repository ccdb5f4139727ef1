package api

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// JobSpec is what a user wants to run. Flags, YAML, JSON and the Go client use
// the same field names.
type JobSpec struct {
	Extra
	Name       string `json:"name,omitempty"`
	Kind       Kind   `json:"kind"`
	Partition  string `json:"partition,omitempty"`
	Count      *int   `json:"count,omitempty"` // nil = 1, which Normalize makes of it
	Array      string `json:"array,omitempty"`
	Gang       int    `json:"gang,omitempty"`
	Retries    int    `json:"retries,omitempty"`
	AtMostOnce bool   `json:"atMostOnce,omitempty"`
	Priority   int    `json:"priority,omitempty"`

	Labels map[string]string `json:"labels,omitempty"`
	TaskSpec
}

// Keys says what the fields are, in their order.
func (JobSpec) Keys() []Key {
	return []Key{
		key("name", "by which apply finds the job again: a-z, 0-9 and -", "", "web"),
		key("kind", "service: kept running; batch: runs to its end", "service", "batch"),
		key("partition", "whose share of the cluster it uses", "default", "ml/train"),
		key("count", "how many tasks to keep running", "1", "3", KindService),
		key("array", "one task for each index, which MESITA_TASK_INDEX tells", "", "0-99", KindBatch),
		key("gang", "so many tasks that start together or not at all", "", "4", KindBatch),
		key("retries", "further attempts after a failure", "0", "3", KindBatch),
		key("atMostOnce", "nothing of it starts elsewhere before the node it ran on is known to be dead, or is back", "false", "true"),
		key("priority", "order within the partition, if its policy is priority: -1000 to 1000", "0", "10"),
		key("labels", "by which lists are narrowed; they mean nothing to the cluster", "", "{team: shop}"),
	}
}

// TaskSpec is what one task of a job runs, and with what.
type TaskSpec struct {
	Command []string          `json:"command,omitempty"`
	Program string            `json:"program,omitempty"`
	Files   map[string]string `json:"files,omitempty"` // by their names in the task's folder; see FileValue
	Env     map[string]string `json:"env,omitempty"`
	Dir     string            `json:"dir,omitempty"`
	User    string            `json:"user,omitempty"`
	Placing
	StopSignal string        `json:"stopSignal,omitempty"`
	StopGrace  Duration      `json:"stopGrace,omitempty"`
	Time       Duration      `json:"time,omitempty"`
	Restart    RestartPolicy `json:"restart,omitempty"`
	LogMax     Bytes         `json:"logMax,omitempty"`
	Pids       int64         `json:"pids,omitempty"`
	Ulimits    []Ulimit      `json:"ulimits,omitempty"`
	Nice       int           `json:"nice,omitempty"`
	CPULimit   CPULimit      `json:"cpuLimit,omitempty"`
	Privileged bool          `json:"privileged,omitempty"`
	HostPIDs   bool          `json:"hostPIDs,omitempty"`
	Unconfined []string      `json:"unconfined,omitempty"` // see Parts
	// A program that does not expect the signal may end by it, so there is no default.
	NoticeSignal string `json:"noticeSignal,omitempty"`
	// What follows is of frameworks' tasks alone.
	Fetch   []Fetch       `json:"fetch,omitempty"`
	Check   *Probe        `json:"check,omitempty"`
	Health  *HealthCheck  `json:"health,omitempty"`
	TTY     *Terminal     `json:"tty,omitempty"`
	Volumes []VolumeMount `json:"volumes,omitempty"`
}

// Terminal is that of a task which has one for its input and output, as large as it is at
// first; zero: as is usual.
type Terminal struct {
	Extra
	Rows int `json:"rows,omitempty"`
	Cols int `json:"cols,omitempty"`
}

// Keys says what the fields are, in their order.
func (TaskSpec) Keys() []Key {
	return []Key{
		key("command", "program and arguments, without a shell; {http} is the number of the port http", "", `[./server, --port, "{http}"]`),
		key("program", "what is run as the first of command: a program to upload, or the digest of one that was", "the first of command, if it is a path of this machine", "./build/server"),
		key("files", "files that its folder has at the start, by their names there; apply uploads them; 64, of 64 MiB together, at most", "", "{app.conf: ./app.conf}"),
		key("env", "variables of its environment", "", "{LOG_LEVEL: debug}"),
		key("dir", "working folder on the node", "an empty one of the task's own", "/srv/web"),
		key("user", "user, or user:group, of the node that it runs as", "whom your token or partition runs tasks as", "www-data"),
		key("stopSignal", "the signal by which it is asked to end", "SIGTERM", "SIGINT"),
		key("stopGrace", "how long after that it is killed", "10s", "30s"),
		key("time", "the most one attempt may take; plans count on it", "", "2h", KindBatch),
		key("restart", "what happens after a task ended", "", "{delay: 1s, maxDelay: 1m}", KindService),
		key("logMax", "the most that is kept of a task's output", "20MiB", "100MiB"),
		key("pids", "the most processes and threads of a task", "4096", "100"),
		key("ulimits", "bounds of each process, as in setrlimit(2)", "", `["nofile=65536"]`),
		key("nice", "-20 to 19, beside other processes of the same task", "0", "5"),
		key("cpuLimit", "the most CPUs it may use, however idle its node is; = for as many as cpus", "what is idle", "2"),
		key("privileged", "root of the node, which nothing confines: for admins", "false", "true"),
		key("hostPIDs", "it sees the node's processes: for admins", "false", "true"),
		key("unconfined", "parts of what confines it that do not", "", "[tmp]"),
		key("noticeSignal", "sent when it is told that it will be preempted, where its partition gives notice", "none", "SIGUSR1"),
	}
}

// Placing is all of a spec from which follows where its tasks may go and which place is
// best for them. Whoever keeps something by it keeps it by all of its fields.
type Placing struct {
	Request                  // resources
	Constraints []Constraint `json:"constraints,omitempty"`
	Prefer      []Constraint `json:"prefer,omitempty"`
	Affinity    []Affinity   `json:"affinity,omitempty"`
	Spread      string       `json:"spread,omitempty"`
}

// Keys says what the fields are, in their order.
func (Placing) Keys() []Key {
	return []Key{
		key("constraints", "conditions on attributes of the node, of which all have to hold", "", `["disk=ssd", "node.name!=oak"]`),
		key("prefer", "nodes that meet more of these come first", "", `["zone=a"]`),
		key("affinity", "on the nodes of another job (db), in its zone (db@zone), or never there (!db); ~db: if possible", "", `[db, "!batch"]`),
		key("spread", "attribute whose values get equal numbers of tasks", "", "zone"),
	}
}

// Request is the resources that one task asks for.
type Request struct {
	CPUs     MilliCPU            `json:"cpus,omitempty"`
	Pin      bool                `json:"pin,omitempty"`
	Mem      Bytes               `json:"mem,omitempty"`
	MemLimit Bytes               `json:"memLimit,omitempty"`
	Disk     Bytes               `json:"disk,omitempty"`
	GPUs     int64               `json:"gpus,omitempty"`
	Ports    []PortRequest       `json:"ports,omitempty"`
	Custom   map[string]Quantity `json:"custom,omitempty"`
}

// Keys says what the fields are, in their order.
func (Request) Keys() []Key {
	return []Key{
		key("cpus", "CPUs that are its own when the node is full; what is idle is anybody's", "0.1", "0.25"),
		key("pin", "its cpus are whole ones that no other task of the node runs on", "false", "true"),
		key("mem", "memory that is its own; above it, it is killed", "64MiB", "512MiB"),
		key("memLimit", "above it, it is killed instead, while its node has room", "as much as mem", "1GiB"),
		key("disk", "disk, which is counted and not enforced", "0", "10GiB"),
		key("gpus", "GPUs of the node", "0", "1"),
		key("ports", "a free port by name, or one by number", "", `[http, "metrics=9100"]`),
		key("custom", "resources that nodes are started with by --resources", "", "{licenses: 2}"),
	}
}

// PortRequest is a port by name; Port 0 means any free one of the node's.
type PortRequest struct {
	Extra
	Name string `json:"name"`
	Port int    `json:"port,omitempty"`
}

// Keys says what the fields are, in their order.
func (PortRequest) Keys() []Key {
	return []Key{
		key("name", "its name, in MESITA_PORT_NAME and as {name}", "", "http"),
		key("port", "its number", "any of the node's that is free", "8080"),
	}
}

// RestartPolicy says what happens after a service's task ended.
type RestartPolicy struct {
	Extra
	Delay    Duration `json:"delay,omitempty"`
	MaxDelay Duration `json:"maxDelay,omitempty"`
	Attempts int      `json:"attempts,omitempty"`
}

// Keys says what the fields are, in their order.
func (RestartPolicy) Keys() []Key {
	return []Key{
		key("delay", "until the first restart; doubles with each", "1s", "5s"),
		key("maxDelay", "the longest delay", "1m", "10m"),
		key("attempts", "restarts in a row, after which it is given up; 0 = never", "0", "10"),
	}
}

// Defaults of a spec.
const (
	DefaultPartition          = "default"
	DefaultCPUs      MilliCPU = 100
	DefaultMem       Bytes    = 64 << 20
	minTime                   = Duration(time.Millisecond) // the least that an attempt may be given
	DefaultStopGrace          = Duration(10 * time.Second)
	DefaultDelay              = Duration(time.Second)
	DefaultMaxDelay           = Duration(time.Minute)
	DefaultLogMax    Bytes    = 20 << 20
	DefaultPids      int64    = 4096
	MaxArray                  = 1_000_000
	SmallArray                = 50_000 // the most that programs below level 6 know
	MaxCount                  = 10_000
	MaxGang                   = 1000
	maxArgs                   = 1024
	maxSpecText               = 256 << 10
	maxString                 = 128 << 10 // MAX_ARG_STRLEN of Linux, with the zero at its end
	maxPath                   = 4095      // PATH_MAX of Linux, without the zero at its end
	maxExpanded               = 4         // by how much one {name} in a command may grow
	maxOwnText                = 16 << 10  // of the variables that mesita adds
	maxRetries                = 1000
)

// StopSignals are the signals that a spec may name.
var stopSignals = []string{"SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGWINCH"}

// noticeSignals are those by which a program may be told to get ready to leave.
var noticeSignals = slices.DeleteFunc(slices.Clone(stopSignals), func(s string) bool { return s == "SIGKILL" })

// Normalize fills the defaults in. It is called once, where a spec enters.
func (s *JobSpec) Normalize() {
	setDefault(&s.Partition, DefaultPartition)
	setDefault(&s.CPUs, DefaultCPUs)
	if s.CPULimit == equalToCPUs {
		s.CPULimit = CPULimit(s.CPUs)
	}
	setDefault(&s.Mem, DefaultMem)
	setDefault(&s.StopSignal, "SIGTERM")
	if !strings.HasPrefix(s.StopSignal, "SIG") {
		s.StopSignal = "SIG" + strings.ToUpper(s.StopSignal)
	}
	if s.NoticeSignal != "" && !strings.HasPrefix(s.NoticeSignal, "SIG") {
		s.NoticeSignal = "SIG" + strings.ToUpper(s.NoticeSignal)
	}
	setDefault(&s.StopGrace, DefaultStopGrace)
	setDefault(&s.LogMax, DefaultLogMax)
	setDefault(&s.Pids, DefaultPids)
	s.Constraints, s.Prefer = MarkVersions(s.Constraints, nil, true), MarkVersions(s.Prefer, nil, true)
	s.Unconfined = slices.Compact(slices.Sorted(slices.Values(s.Unconfined))) // nil if empty
	if len(s.Labels) == 0 {
		s.Labels = nil // no change of a job that has none
	}
	if s.Kind == KindService {
		if s.Count == nil {
			s.Count = new(1)
		}
		setDefault(&s.Restart.Delay, DefaultDelay)
		setDefault(&s.Restart.MaxDelay, max(DefaultMaxDelay, s.Restart.Delay))
	}
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Indexes is the index range of a batch's tasks; a batch that is not an array has
// the one index 0. What a framework will run nobody knows.
func (s *JobSpec) Indexes() (first, count int, err error) {
	if s.Kind == KindFramework {
		return 0, 0, nil
	}
	if s.Gang > 0 {
		return 0, s.Gang, nil
	}
	if s.Array == "" {
		return 0, 1, nil
	}
	a, b, two := strings.Cut(s.Array, "-")
	lo, err := strconv.Atoi(a)
	hi := lo
	if err == nil && two {
		hi, err = strconv.Atoi(b)
	}
	if err != nil || lo < 0 || hi < lo || hi > 1<<30 {
		return 0, 0, FieldErrorf("array", "%q is not an index range: write 0-99", s.Array)
	}
	if n := hi - lo + 1; n > MaxArray {
		return 0, 0, FieldErrorf("array", "%s are %d over the limit of %d: submit it in parts", Count(n, "task"), n-MaxArray, MaxArray)
	}
	return lo, hi - lo + 1, nil
}

// Tasks is the number of tasks that the spec asks for.
func (s *JobSpec) Tasks() int {
	if s.Kind == KindService {
		if s.Count == nil {
			return 0
		}
		return *s.Count
	}
	_, n, _ := s.Indexes()
	return n
}

// Uses reports whether a node meets the job's constraints.
func (s *JobSpec) Uses(n *Node) bool {
	for _, c := range s.Constraints {
		if !c.Match(n.Name, n.Attrs) {
			return false
		}
	}
	return true
}

// Need is the resource vector of one task, without the ports whose numbers the
// scheduler chooses.
func (s *JobSpec) Need() Resources {
	r := Resources{CPUs: s.CPUs, Mem: s.Mem, MemExtra: max(s.MemLimit-s.Mem, 0), Disk: s.Disk, GPUs: s.GPUs, Custom: s.Custom}
	if s.Pin {
		r.Pins = int64(s.CPUs / 1000)
	}
	for _, p := range s.Ports {
		if p.Port != 0 {
			r.Ports = r.Ports.Union(Ranges{{int64(p.Port), int64(p.Port)}})
		}
	}
	return r
}

// AnyPorts is how many ports the scheduler has to choose.
func (s *JobSpec) AnyPorts() int {
	n := 0
	for _, p := range s.Ports {
		if p.Port == 0 {
			n++
		}
	}
	return n
}

// ParsePort reads "http" or "http=8080".
func ParsePort(s string) (PortRequest, error) {
	name, num, fixed := strings.Cut(s, "=")
	p := PortRequest{Name: name}
	if !fixed && s != "" && strings.Trim(s, "0123456789:") == "" {
		return p, FieldErrorf("ports", "%q has no name: write http=8080 for a port of the node by its number, or http for a free one; the program listens on it itself, and nothing is mapped", s)
	}
	if err := ValidateName("ports", name); err != nil {
		return p, err
	}
	if fixed {
		n, err := strconv.Atoi(num)
		if err != nil || n < 1 || n > 65535 {
			return p, FieldErrorf("ports", "%q is not a port: write http or http=8080", s)
		}
		p.Port = n
	}
	return p, nil
}

// UnmarshalJSON reads {"name": …, "port": …} or the short form "http=8080".
func (p *PortRequest) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		v, err := ParsePort(unquote(b))
		*p = v
		return err
	}
	type plain PortRequest
	return strictUnmarshal(b, (*plain)(p))
}
