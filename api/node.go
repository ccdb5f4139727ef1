package api

import (
	"slices"
	"time"
	"unicode/utf8"
)

// What a node has unless it is told otherwise.
const (
	DefaultDataDir = "/var/lib/mesita"
	DefaultSocket  = "/run/mesita.sock"
	DefaultPort    = 5050
)

// NodeState is what the cluster thinks of a node.
type NodeState uint8

// The states of a node. Append only.
const (
	NodeReady       NodeState = iota
	NodeDraining              // runs what it has until the drain moved it; gets nothing new
	NodeUnreachable           // does not answer; its tasks are replaced
	NodeDown                  // unreachable for long, or stopped on purpose
	NodeGone                  // removed for good
)

var nodeStates = []string{"ready", "draining", "unreachable", "down", "gone"}

// NodeStates are the names of all states of nodes.
func NodeStates() []string { return slices.Clone(nodeStates) }

func (s NodeState) String() string { return enumString(nodeStates, s) }

// MarshalText writes the state's name.
func (s NodeState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the state's name.
func (s *NodeState) UnmarshalText(b []byte) (err error) {
	*s, err = enumText[NodeState]("node state", nodeStates, b)
	return err
}

// Node is one server. Its id is the hash of its key; its name is unique in the
// cluster; its address may change.
type Node struct {
	Extra
	Revision     uint64            `json:"revision,omitempty"` // index of the log entry that changed it last
	ID           string            `json:"id"`
	Name         string            `json:"name"`
	Addr         string            `json:"addr"` // host:port of its one port
	State        NodeState         `json:"state"`
	Drain        bool              `json:"drain,omitempty"`        // gets nothing new until resumed
	DrainBy      time.Time         `json:"drainBy,omitzero"`       // tasks still there then are stopped
	VoterOnly    bool              `json:"voterOnly,omitempty"`    // votes and runs nothing
	WorkerOnly   bool              `json:"workerOnly,omitempty"`   // never votes: the tokens that it joined with say so
	DiskFull     bool              `json:"diskFull,omitempty"`     // takes no new work
	KeeperSilent bool              `json:"keeperSilent,omitempty"` // the parent of its tasks does not answer its daemon: takes no new work
	Attrs        map[string]string `json:"attrs,omitempty"`        // operator's and detected
	Resources    Resources         `json:"resources"`              // what it has
	Level        int               `json:"level,omitempty"`        // the highest that its mesita knows
	Session      string            `json:"session,omitempty"`      // the start of its daemon that holds its identity; see SessionClaim
	DaemonStarts uint64            `json:"daemonStarts,omitempty"` // as its data folder counts them
	Version      string            `json:"version"`                // of mesita
	Boot         string            `json:"boot,omitempty"`         // the kernel's boot id
	JoinToken    string            `json:"joinToken,omitempty"`    // id of the token it joined with
	Joined       time.Time         `json:"joined,omitzero"`        //
	Since        time.Time         `json:"since,omitzero"`         // in this state
	Away         bool              `json:"away,omitempty"`         // unreachable or down, but the parent of its tasks answers: they are not replaced
	Reason       string            `json:"reason,omitempty"`       // of this state
	Starts       *StartTrouble     `json:"starts,omitempty"`       // tasks failed to start there
	Outdated     bool              `json:"outdated,omitempty"`     // its mesita is older than the level of the cluster: it gets no new work
	ClockOff     Duration          `json:"clockOff,omitempty"`     // its clock is ahead of most by so much
	Outside      *Outside          `json:"outside,omitempty"`      // other programs have it
	Flood        *Flood            `json:"flood,omitempty"`        // who asks it for much more than it may have
	Refill       *Refill           `json:"refill,omitempty"`       // its daemon found less of its data than there had been
	Audit        *AuditMark        `json:"audit,omitempty"`        // how far its audit was, when it said so last
	LogFault     string            `json:"logFault,omitempty"`     // why it cannot write its Raft log, as a voter
}

// Schedulable reports whether the node may get new tasks.
func (n *Node) Schedulable() bool {
	return n.State == NodeReady && !n.Drain && !n.VoterOnly && !n.DiskFull && !n.KeeperSilent && !n.Outdated && !n.Starts.Stopped()
}

// Trouble is what is wrong with a node that answers: in a word or two, and what
// there is to know about it.
type Trouble struct{ Short, Text string }

// Troubles lists what is wrong with the node besides its state.
func (n *Node) Troubles() (out []Trouble) {
	if n.Drain && (n.State == NodeUnreachable || n.State == NodeDown) {
		out = append(out, Trouble{"draining", "it is being drained, and cannot be asked: what is left there ends once it is back"})
	}
	if n.Away {
		return append(out, Trouble{"away", "it gets no new tasks; what runs to an end of its own stays, services move if the daemon stays away"})
	}
	if n.State != NodeReady && n.State != NodeDraining {
		return out
	}
	if n.DiskFull {
		out = append(out, Trouble{"disk full", "its data folder has no room: it gets no new tasks"})
	}
	if n.KeeperSilent {
		out = append(out, Trouble{"keeper hangs", "its keeper, the parent of its tasks, does not answer: they continue, their ends are not seen, and it gets no new ones; wake or end that process (`mesita keeper`) on this node"})
	}
	if n.LogFault != "" {
		out = append(out, Trouble{"log broken", n.LogFaultText()})
	}
	if n.Flood != nil {
		out = append(out, Trouble{"flooded", n.Flood.Text()})
	}
	if n.Starts != nil && !n.Starts.Since.IsZero() {
		out = append(out, Trouble{"starts fail", "no task starts there: " + n.Starts.Message})
	}
	if n.Outdated {
		out = append(out, Trouble{"outdated", "its mesita (" + n.Version + ") is older than the level of the cluster: its tasks continue, and it gets no new ones; upgrade mesita on this node"})
	}
	if n.ClockOff != 0 {
		out = append(out, Trouble{"clock off", n.ClockText()})
	}
	if n.Outside != nil && n.Outside.Mem > n.Resources.Mem/4 {
		out = append(out, Trouble{"memory taken", "other programs use " + n.Outside.Mem.String() + " of the " + n.Resources.Mem.String() + " that are for tasks: end them, or say with --resources mem=… how much is"})
	}
	return out
}

// LogFaultText says it in words.
func (n *Node) LogFaultText() string {
	return "its Raft log cannot be written (" + n.LogFault + "), so as a voter it does not count: free space on the disk of its data folder, or replace that"
}

// OnceText says what becomes of k tasks on a node that does not answer that may
// not start elsewhere.
func OnceText(node string, k int) string {
	what := "1 task that runs at most once: it waits"
	if k != 1 {
		what = Count(k, "task") + " that run at most once: they wait"
	}
	return what + " for " + node + ", or for `mesita node rm --force " + node + "` if that is off for good"
}

// Silent reports whether nothing is heard of the node, nor of the parent of its
// tasks.
func (n *Node) Silent() bool { return (n.State == NodeUnreachable || n.State == NodeDown) && !n.Away }

// ClockText says by how much the node's clock is off.
func (n *Node) ClockText() string {
	d, how := time.Duration(n.ClockOff), "ahead of"
	if d < 0 {
		d, how = -d, "behind"
	}
	return "its clock is " + d.String() + " " + how + " that of most nodes: set it, or let NTP do so"
}

// Ledger is where each unit of a node's resources is. The four always add up
// to the node's capacity.
type Ledger struct {
	Free       Resources `json:"free"`
	Offered    Resources `json:"offered"`
	Allocated  Resources `json:"allocated"`
	Reclaiming Resources `json:"reclaiming"` // of tasks that are being stopped
}

// NodeStatus is a node as a reader sees it, with what follows from other state.
type NodeStatus struct {
	*Node
	Role   string `json:"role"` // "voter", "voter, leader", "worker"
	Ledger Ledger `json:"ledger"`
	Tasks  int    `json:"tasks"`
	Remark string `json:"remark,omitempty"` // what the operator should look at
	// Reservations are those of its room that the reader sees; not in lists.
	Reservations []ReservationStatus `json:"reservations,omitempty"`
}

// Troubles lists what is wrong with the node besides its state, and what waits
// for it.
func (n *NodeStatus) Troubles() []Trouble {
	out := n.Node.Troubles()
	if n.Tasks > 0 && n.Silent() {
		out = append(out, Trouble{Count(n.Tasks, "task") + " stuck", OnceText(n.Name, n.Tasks)})
	}
	return out
}

// SessionClaim asks to be the one that speaks for a node: a daemon has a session
// of its own each time that it starts, and a copied data folder has the same key
// and another session.
type SessionClaim struct {
	Session string `json:"session"`        // random
	Starts  uint64 `json:"starts"`         // of the data folder
	Addr    string `json:"addr"`           // where the daemon is
	Held    bool   `json:"held,omitempty"` // it found the holder itself: only to be noted
}

// FieldSession is the field that an error names which is about who speaks for a
// node.
const FieldSession = "session"

// Validate checks a claim.
func (c *SessionClaim) Validate() error {
	if c.Session == "" || len(c.Session) > 40 {
		return FieldErrorf(FieldSession, "has %d characters, want 1 to 40", len(c.Session))
	}
	if c.Addr == "" || len(c.Addr) > 255 {
		return FieldErrorf("addr", "%q is not a host:port", c.Addr)
	}
	return nil
}

// NodeHello is what a node says of itself when it starts, when its address or
// resources change, and when it comes back.
type NodeHello struct {
	Addr      string            `json:"addr"`
	Version   string            `json:"version"`
	Boot      string            `json:"boot"`
	VoterOnly bool              `json:"voterOnly,omitempty"`
	DiskFull  bool              `json:"diskFull,omitempty"`
	Attrs     map[string]string `json:"attrs,omitempty"`
	Resources Resources         `json:"resources"`
	Level     int               `json:"level,omitempty"` // the highest that its mesita knows; said only to a cluster of level 1 and above
	Session   string            `json:"session,omitempty"`
	Outside   *Outside          `json:"outside,omitempty"` // said only to a cluster of level 3 and above
	Refill    *Refill           `json:"refill,omitempty"`  // said only to a cluster of level 3 and above
	// KeeperSilent is said only to a cluster of level 3 and above.
	KeeperSilent bool `json:"keeperSilent,omitempty"`

	Audit *AuditMark `json:"audit,omitempty"` // said only to a cluster of level 4 and above
	// Flood is said only to a cluster of level 4 and above.
	Flood *Flood `json:"flood,omitempty"`
	// LogFault is said only to a cluster of level 7 and above.
	LogFault string `json:"logFault,omitempty"`
}

// maxLogFault bounds what a node says of its Raft log, in bytes.
const maxLogFault = 120

// Validate checks what a node says of itself.
func (h *NodeHello) Validate() error {
	if h.Addr == "" || len(h.Addr) > 255 {
		return FieldErrorf("addr", "%q is not a host:port", h.Addr)
	}
	if err := ValidateAttrs("attrs", h.Attrs); err != nil {
		return err
	}
	if err := InField("outside", h.Outside.Validate()); err != nil {
		return err
	}
	if err := InField("refill", h.Refill.Validate()); err != nil {
		return err
	}
	if err := InField("audit", h.Audit.Validate()); err != nil {
		return err
	}
	if err := InField("flood", h.Flood.Validate()); err != nil {
		return err
	}
	if len(h.LogFault) > maxLogFault || !utf8.ValidString(h.LogFault) {
		return FieldErrorf("logFault", "%q is not at most %d bytes of text", h.LogFault, maxLogFault)
	}
	return InField("resources", h.Resources.Validate())
}
