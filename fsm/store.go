package fsm

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/mesita/mesita/api"
)

// Proposer gets commands agreed on and applied, and returns their results in
// order. A non-nil error means that their outcome is not known.
type Proposer interface {
	Propose(ctx context.Context, cmds []Command) ([]Result, error)
}

// Store holds the state. All methods may be called from any goroutine.
type Store struct {
	proposer Proposer

	mu     sync.Mutex // serialises apply, restore and watcher registration
	t      tables
	events ring
	tell   teller
	watch  watchers
	view   atomic.Pointer[View]
	checks checks
	remedy func(need Level) string // may be nil
}

// NewStore makes an empty store that writes through p. With a nil p the store
// is on its own: Propose encodes, decodes and applies at once, one call after
// the other.
func NewStore(p Proposer) *Store {
	s := &Store{proposer: p, t: newTables(), checks: make(checks, 1)}
	s.publish()
	return s
}

// SetProposer gives a store its proposer; call it before anything else does.
// It exists because the proposer needs the store that it applies to.
func (s *Store) SetProposer(p Proposer) { s.proposer = p }

// SetLevelRemedy gives a store what it says of a command that the cluster's level
// does not have: what to do so that the cluster comes to the one that is needed.
// Which program each node runs is not part of the state. The store may be in use
// already.
func (s *Store) SetLevelRemedy(remedy func(need Level) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remedy = remedy
	s.publish()
}

// View is the newest state.
func (s *Store) View() *View { return s.view.Load() }

// Propose gets commands agreed on. The results are in the order of cmds; a
// refused command has its error there, and does not stop the others.
func (s *Store) Propose(ctx context.Context, cmds ...Command) ([]Result, error) {
	if s.proposer != nil {
		return s.proposer.Propose(ctx, cmds)
	}
	entry, err := Encode(cmds...)
	if err != nil {
		return nil, err
	}
	for _, c := range cmds {
		if err := s.View().Allows(c); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	res, err := s.applyLocked(s.t.index+1, entry)
	s.publish()
	return res, err
}

// Do proposes one command and returns its value.
func (s *Store) Do(ctx context.Context, cmd Command) (any, error) {
	res, err := s.Propose(ctx, cmd)
	if err != nil {
		return nil, err
	}
	return res[0].Value, res[0].Err
}

// Entry is one log entry to apply.
type Entry struct {
	Index uint64
	Data  []byte
}

// Apply applies log entries in order and publishes one new view after the
// last. An error means that an entry cannot be read: the caller must halt the
// node rather than skip it.
func (s *Store) Apply(entries []Entry) ([][]Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([][]Result, len(entries))
	for i, e := range entries {
		res, err := s.applyLocked(e.Index, e.Data)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Index, err)
		}
		out[i] = res
	}
	s.publish()
	return out, nil
}

func (s *Store) applyLocked(index uint64, data []byte) ([]Result, error) {
	cmds, err := Decode(data)
	if err != nil {
		return nil, err
	}
	if index <= s.t.index { // already in a restored snapshot
		return make([]Result, len(cmds)), nil
	}
	s.t.index = index
	tx := &tx{tables: &s.t, tell: &s.tell, touch: s.watch.touch}
	res := make([]Result, len(cmds))
	for i, c := range cmds {
		tx.Meta = c.meta()
		res[i].Value, res[i].Err = c.apply(tx)
		tx.tellAll(s.events.add)
	}
	if s.t.does(StateChecks) {
		s.t.logHash = chain(s.t.logHash, index, data)
		s.checkDue(index)
	}
	return res, nil
}

func (s *Store) publish() {
	s.view.Store(&View{t: s.t.freeze(), remedy: s.remedy})
	s.events.wake()
	s.watch.wake()
}

// tx is the state while a command changes it.
type tx struct {
	*tables
	Meta             // of the command
	loading bool     // rows come from a snapshot, in any order
	run     *api.Job // the batch whose tasks are being made: see making
	placing placing  // of the command that places tasks
	begun   *int     // tasks that the parts of an ApplyAll made so far; nil: there is none
	tell    *teller  // nil: nobody is told
	touch   func(Table, string)
	probe   struct { // what is looked up: kept, as a key is as large as a value
		task api.Task
		job  api.Job
		node api.Node
		row  nodeRow
		use  usageRow
	}
}

// taskAt, jobAt and rowAt are nil where there is none.

func (x *tx) taskAt(job string, index int) *api.Task {
	x.probe.task.Job, x.probe.task.Index = job, index
	return x.tasks.get(&x.probe.task)
}

func (x *tx) jobAt(id string) *api.Job {
	x.probe.job.ID = id
	return x.jobs.get(&x.probe.job)
}

// requested is the job that a request made, nil if there is none.
func (x *tx) requested(request string) *api.Job {
	x.probe.job.Request = request
	if j := get(x.requests.BTreeG, &x.probe.job); j != nil {
		return x.jobAt(j.ID)
	}
	return nil
}

func (x *tx) rowAt(node string) *nodeRow {
	x.probe.node.ID, x.probe.row.node = node, &x.probe.node
	return x.nodes.get(&x.probe.row)
}

// ownRow is a node's row that may be changed in place, nil if there is none.
func (x *tx) ownRow(node string) *nodeRow {
	old := x.rowAt(node)
	if old == nil || old.edition == x.edition {
		return old
	}
	row := *old
	row.edition = x.edition
	x.nodes.replace(&row)
	return &row
}

// ownUsage is a partition's row that may be changed in place.
func (x *tx) ownUsage(path string) *usageRow { return x.ownUse(&x.usage, path) }

func (x *tx) ownUse(of *index[*usageRow], path string) *usageRow {
	x.probe.use.path = path
	old, _ := of.Get(&x.probe.use)
	if old != nil && old.edition == x.edition {
		return old
	}
	row := usageRow{path: path}
	if old != nil {
		row = *old
	}
	row.edition = x.edition
	of.ReplaceOrInsert(&row)
	return &row
}

// happened appends an event about a change.
func (x *tx) happened(e api.Event) {
	x.event++
	e.Index, e.Time = x.event, x.At
	if e.Actor == "" {
		e.Actor = x.Actor
	}
	if x.tell != nil {
		x.tell.said = append(x.tell.said, e)
	}
}
