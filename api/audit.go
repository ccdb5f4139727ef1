package api

import (
	"fmt"
	"strings"
	"time"
)

// AuditOutcome is what became of a request.
type AuditOutcome string

// The outcomes.
const (
	AuditDone    AuditOutcome = "done"
	AuditRefused AuditOutcome = "refused" // by permission or by a limit
	AuditFailed  AuditOutcome = "failed"  // the caller might have done it, and could not
)

// Actions of records that are about the audit itself.
const (
	AuditResumed = "audit-resumed" // after a file that is not whole
	AuditLost    = "audit-lost"    // so many records that could not be kept
	AuditBroken  = "audit-broken"  // it lacks, as its node starts, what the cluster was told of
)

// AuditRecord is one change, command beside a task, read of a log or program, or
// refusal. It holds no secret. Records of a node are chained: each has the hash
// of the one before.
type AuditRecord struct {
	Number    uint64        `json:"number"`           // in the audit of its node, from 1 on
	Time      time.Time     `json:"time"`             // when it was over; of what lasts, when it began
	Node      string        `json:"node"`             // that acted or refused, and keeps the record
	Actor     string        `json:"actor,omitempty"`  // as verified; "" = nobody that is known
	Token     string        `json:"token,omitempty"`  // id of the client token
	From      string        `json:"from,omitempty"`   // address, or user of the machine, as the node saw it that took the request
	Via       string        `json:"via,omitempty"`    // the node that took and relayed the request, whose word From is
	Action    string        `json:"action,omitempty"` // as rights name it
	Route     string        `json:"route,omitempty"`  // such as POST /v1/jobs
	Partition string        `json:"partition,omitempty"`
	Object    string        `json:"object,omitempty"` // job, task, node, partition, token or digest
	Outcome   AuditOutcome  `json:"outcome"`
	Code      Code          `json:"code,omitempty"`    // of a refusal or failure
	Reason    string        `json:"reason,omitempty"`  // in words
	Request   string        `json:"request,omitempty"` // the client's id of it, or a random one
	Asked     string        `json:"asked,omitempty"`   // what else there is to know of the request
	Changed   []AuditChange `json:"changed,omitempty"`
	More      int           `json:"more,omitempty"` // so many more of the same within the minute before Time
	Prev      string        `json:"prev"`           // hash of the record before; "" of the first
	Hash      string        `json:"hash,omitempty"` // of this one without the hash
}

// AuditChange is a field that changed, as JSON; values of environments are masked.
type AuditChange struct {
	Field  string `json:"field"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// AuditHead is how far the audit of a node had come.
type AuditHead struct {
	Number uint64 `json:"number"`
	Hash   string `json:"hash"`
}

// AuditMark is how far a node says that its audit is on disk. The cluster keeps the
// newest, so what is before it cannot be changed unseen.
type AuditMark struct {
	Extra
	Number  uint64 `json:"number,omitempty"`
	Hash    string `json:"hash,omitempty"`
	Trouble string `json:"trouble,omitempty"` // it is not as the mark before says, or cannot be written
}

// Equal reports whether both say the same.
func (m *AuditMark) Equal(o *AuditMark) bool {
	if m == nil || o == nil {
		return m == o
	}
	return m.Number == o.Number && m.Hash == o.Hash && m.Trouble == o.Trouble
}

// maxMark bounds the texts of a mark, in bytes.
const maxMark = 512

// Validate checks what a node says of its audit.
func (m *AuditMark) Validate() error {
	if m != nil && (len(m.Hash) > maxMark || len(m.Trouble) > maxMark) {
		return FieldErrorf("hash", "of %d bytes, with trouble of %d, is too long", len(m.Hash), len(m.Trouble))
	}
	return nil
}

// Against says why an audit is not the one that the mark is of, "" if it is: first
// and head are the oldest and newest record that are there, at the hash of the one
// with the mark's number.
func (m *AuditMark) Against(first, head uint64, at string) string {
	switch {
	case m == nil || m.Number == 0:
		return ""
	case head < m.Number:
		return fmt.Sprintf("its end is missing: it has no record after %d, and %d was there", head, m.Number)
	case first <= m.Number && at != m.Hash:
		return fmt.Sprintf("record %d is not the one that was there", m.Number)
	}
	return ""
}

// AuditFilter says which records are wanted. The zero value wants all.
type AuditFilter struct {
	Since   time.Time
	User    string // actor, with or without what it begins with, root of any node, or id of a token
	Action  string
	Object  string // or partition
	Refused bool
}

// Match reports whether a record is wanted.
func (f *AuditFilter) Match(r *AuditRecord) bool {
	_, name, _ := strings.Cut(r.Actor, ":")
	return (f.Since.IsZero() || !r.Time.Before(f.Since)) && (f.User == "" || f.User == r.Actor || f.User == UserOf(r.Actor) || f.User == name || f.User == r.Token) &&
		(f.Action == "" || f.Action == r.Action) && (f.Object == "" || f.Object == r.Object || f.Object == r.Partition) && (!f.Refused || r.Outcome == AuditRefused)
}

// MaxAudit is how many records an answer has at most.
const MaxAudit = 10_000

// AuditDamage is a kind of fault. What a power cut leaves is none.
type AuditDamage string

// The kinds.
const (
	AuditAltered    AuditDamage = "altered"  // a record is not what was written
	AuditMissing    AuditDamage = "missing"  // records between two others are gone
	AuditInserted   AuditDamage = "inserted" // a record was put in, or moved
	AuditCutOff     AuditDamage = "cut-off"  // the end is gone, or all is another, as the node or the cluster knows
	AuditUnreadable AuditDamage = "unreadable"
)

// AuditFault is where the audit of a node is not as it was written.
type AuditFault struct {
	Kind   AuditDamage `json:"kind,omitempty"` // "" of a node that knows no kinds
	File   string      `json:"file,omitempty"`
	Line   int         `json:"line,omitempty"`
	Number uint64      `json:"number,omitempty"` // that the record there has, or should have
	What   string      `json:"what"`
}

// AuditCheck is what was found in the audit of a node.
type AuditCheck struct {
	Node    string       `json:"node"`
	Files   int          `json:"files"`
	Records uint64       `json:"records"`
	First   uint64       `json:"first,omitempty"` // number of the oldest that is kept
	Head    AuditHead    `json:"head"`            // the newest
	At      string       `json:"at,omitempty"`    // hash of the record that was asked for
	Faults  []AuditFault `json:"faults,omitempty"`
	Notes   []string     `json:"notes,omitempty"` // what is explained by a power cut
}
