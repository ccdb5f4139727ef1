// Package journal owns the executor's memory on disk: what this node was last
// told to run, how far each attempt is, and the statuses the cluster has not
// acknowledged yet. It does not own what follows from that; the executor calls
// it. Whatever waits is written in one transaction (group commit), so a
// thousand records cost little more than one.
package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/boltfile"
)

// Phase is how far an attempt is. Values are stored: append only.
type Phase uint8

// The phases of an attempt on its node.
const (
	Assigned Phase = iota // may have been started
	Running
	Ended // the final status is known
	Acked // and the cluster has it
)

// Record is what is known of an attempt.
type Record struct {
	Phase   Phase           `json:"phase"`
	Attempt int             `json:"attempt"`
	PID     int             `json:"pid,omitempty"`
	Started time.Time       `json:"started,omitzero"`
	Up      time.Duration   `json:"up,omitempty"` // clock.Uptime at the start
	Final   *api.TaskStatus `json:"final,omitempty"`
	Touched time.Time       `json:"touched,omitzero"` // last written
	// Former is an attempt of an age of the cluster that is over: in the present
	// one its number means nothing.
	Former bool `json:"former,omitempty"`
	// Lifted is a limit of CPU that was taken away as the attempt ran: the kernel
	// may have it yet.
	Lifted bool `json:"lifted,omitempty"`
	// Cores are the CPUs that are its own until it ends.
	Cores []int `json:"cores,omitempty"`
}

// Entry is a task with its record, as Open returns it.
type Entry struct {
	ID         string
	Assignment api.Assignment
	Record     Record
}

// format is raised when an older version could not read the file any more.
const format = 1

// CorruptError names a journal that cannot be read, and the remedy.
type CorruptError struct {
	File  string
	Cause error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("the journal %s is damaged (%v): move it away and start the node again; what runs here is then taken on as the keeper and the cluster tell it", e.File, e.Cause)
}

func (e *CorruptError) Unwrap() error { return e.Cause }

// Journal is one open file. Its methods may be called from several goroutines.
type Journal struct {
	db   *bbolt.DB
	path string
	log  *slog.Logger

	mu      sync.Mutex
	waiting *batch
	planned bool // a wake for what can wait
	wake    chan struct{}

	// Of the writer alone.
	specs map[string]int    // references to each spec
	refs  map[string]string // the spec of each task
	undo  []func()          // of the transaction under way
}

type batch struct {
	puts map[string]put
	done []func(error)
}

// put is what becomes of one task: nil fields stay as they are.
type put struct {
	assignment *api.Assignment
	record     *Record
	remove     bool
}

// Open opens or makes the journal at path after a look at all of it, and
// returns every task in it. It fails with a *CorruptError if anything in it is
// not what was written.
func Open(path string, log *slog.Logger) (*Journal, []Entry, error) {
	j := &Journal{path: path, log: log, wake: make(chan struct{}, 1), specs: map[string]int{}, refs: map[string]string{}}
	in := newContents()
	if err := boltfile.Look(path, time.Second, in.look); err != nil {
		return nil, nil, openError(path, err)
	}
	for _, e := range in.entries {
		key := specKey(e.Assignment.Task)
		j.refs[e.ID] = key
		j.specs[key]++
	}
	var err error
	j.db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, nil, openError(path, err)
	}
	return j, in.entries, nil
}

// MoveAside renames a journal that cannot be read to path.corrupt-TIME.
func MoveAside(path string) (to string, err error) {
	to = path + ".corrupt-" + strconv.FormatInt(time.Now().Unix(), 10)
	if err := os.Rename(path, to); err != nil {
		return "", fmt.Errorf("move the journal aside: %w", err)
	}
	return to, nil
}

func openError(path string, err error) error {
	var damage *boltfile.DamageError
	var format *formatError
	switch {
	case errors.As(err, &format):
		return fmt.Errorf("open the journal %s: %w", path, format)
	case errors.As(err, &damage):
		return &CorruptError{path, damage.Cause}
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("the journal %s is in use: another mesita runs with this data folder; stop it first", path)
	}
	return fmt.Errorf("open the journal %s: %w", path, err)
}

// Close closes the file. Run must have ended.
func (j *Journal) Close() error { return j.db.Close() }

// Begin is called before anything is put, in one transaction, as each waits for the
// disk twice. It stores the boot id and the age of the cluster that the node is part
// of, and returns the boot id that the journal was last used under ("" for a new one).
// In another age than before nobody has heard of what was acknowledged: all of that
// waits to be told again, on disk and in past, which Open returned.
func (j *Journal) Begin(boot, age string, past []Entry) (last string, err error) {
	err = j.change(func(c *change) error {
		meta := c.tx.Bucket(metaBucket)
		last = string(meta.Get(bootKey))
		if was := meta.Get(ageKey); last == boot && was != nil && string(was) == age {
			return errSame
		}
		if err := c.putText(bootKey, boot); err != nil {
			return err
		}
		return c.enter(age, past)
	})
	return last, err
}

func (c *change) enter(age string, past []Entry) error {
	last := c.tx.Bucket(metaBucket).Get(ageKey)
	if last != nil && string(last) == age {
		return nil
	}
	for i := range past {
		if last == nil {
			break // the program of before did not say
		}
		r := &past[i].Record
		r.Former = true
		if r.Phase == Acked && r.Final != nil {
			r.Phase = Ended
		}
		if err := c.seal(stateBucket, []byte(past[i].ID), r); err != nil {
			return err
		}
	}
	return c.putText(ageKey, age)
}

// specKey names the spec of a task: that of its job, which its tasks have alike, or its
// own, if a framework said what it is.
func specKey(t *api.Task) string {
	of := t.Job
	if t.Framework != nil {
		of = t.ID
	}
	return of + "@" + strconv.Itoa(t.Version)
}

// Put stores a record, and the assignment unless it is nil. done, unless nil,
// is called once both are on disk or cannot be.
func (j *Journal) Put(id string, a *api.Assignment, r Record, done func(error)) {
	j.add(id, put{assignment: a, record: &r}, done, true)
}

// PutSoon is Put for what nobody waits for: it is written with the next Put, or
// within 25 ms.
func (j *Journal) PutSoon(id string, a *api.Assignment, r Record, done func(error)) {
	j.add(id, put{assignment: a, record: &r}, done, false)
}

// Remove forgets a task, as soon as PutSoon writes.
func (j *Journal) Remove(id string) { j.add(id, put{remove: true}, nil, false) }

// soon is how long company is waited for: a transaction costs milliseconds.
const soon = 25 * time.Millisecond

func (j *Journal) add(id string, p put, done func(error), now bool) {
	j.mu.Lock()
	if j.waiting == nil {
		j.waiting = &batch{puts: map[string]put{}}
	}
	if old, ok := j.waiting.puts[id]; ok && p.assignment == nil && !p.remove {
		p.assignment = old.assignment
	}
	j.waiting.puts[id] = p
	if done != nil {
		j.waiting.done = append(j.waiting.done, done)
	}
	if !now && !j.planned {
		j.planned = true
		time.AfterFunc(soon, j.due)
	}
	j.mu.Unlock()
	if now {
		j.poke()
	}
}

func (j *Journal) due() {
	j.mu.Lock()
	j.planned = false
	j.mu.Unlock()
	j.poke()
}

func (j *Journal) poke() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// retryAfter is how long a write that failed waits, as when the disk is full.
const retryAfter = time.Second

// Run writes what is put until ctx ends, and then what is left. A write that
// fails is told to those who wait for it, and tried again.
func (j *Journal) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return j.flush()
		case <-j.wake:
		}
		err := j.flush()
		for ; err != nil; err = j.flush() {
			j.log.Error("the journal cannot be written; trying again", "file", j.path, "error", err)
			select {
			case <-ctx.Done():
				return j.flush()
			case <-time.After(retryAfter):
			}
		}
	}
}

// flush writes the waiting batch in one transaction.
func (j *Journal) flush() error {
	j.mu.Lock()
	b := j.waiting
	j.waiting = nil
	j.mu.Unlock()
	if b == nil {
		return nil
	}
	j.undo = j.undo[:0]
	err := j.change(func(c *change) error {
		for id, p := range b.puts {
			if err := j.write(c, id, p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("write the journal %s: %w", j.path, err)
		for i := len(j.undo) - 1; i >= 0; i-- {
			j.undo[i]()
		}
		j.putBack(b)
	}
	for _, f := range b.done {
		f(err)
	}
	return err
}

// putBack queues a batch that could not be written, under what came since.
func (j *Journal) putBack(b *batch) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.waiting == nil {
		j.waiting = &batch{puts: b.puts}
		return
	}
	for id, p := range b.puts {
		newer, ok := j.waiting.puts[id]
		if ok && newer.assignment == nil && !newer.remove {
			newer.assignment = p.assignment
			p = newer
		} else if ok {
			continue
		}
		j.waiting.puts[id] = p
	}
}

func (j *Journal) write(c *change, id string, p put) error {
	key := []byte(id)
	if p.remove {
		if err := errors.Join(c.remove(taskBucket, key), c.remove(stateBucket, key)); err != nil {
			return err
		}
		return j.refer(c, id, "", api.NodeSpec{})
	}
	if p.assignment != nil {
		if err := j.refer(c, id, specKey(p.assignment.Task), p.assignment.NodeSpec()); err != nil {
			return err
		}
		if err := c.seal(taskBucket, key, p.assignment.Task); err != nil {
			return err
		}
	}
	return c.seal(stateBucket, key, p.record)
}

func restore[V comparable](m map[string]V, k string, v V) {
	var zero V
	if m[k] = v; v == zero {
		delete(m, k)
	}
}

// refer makes the task refer to another spec ("" for none); a spec that
// nothing refers to is removed.
func (j *Journal) refer(c *change, id, key string, spec api.NodeSpec) error {
	old := j.refs[id]
	if old == key {
		if key == "" {
			return nil
		}
		// The same one may have another limit or time to stop by now.
		return c.seal(specBucket, []byte(key), spec)
	}
	nOld, nNew := j.specs[old], j.specs[key]
	j.undo = append(j.undo, func() { // the counts follow the file, whatever becomes of the transaction
		restore(j.refs, id, old)
		restore(j.specs, old, nOld)
		restore(j.specs, key, nNew)
	})
	if key != "" {
		if j.specs[key] == 0 {
			if err := c.seal(specBucket, []byte(key), spec); err != nil {
				return err
			}
		}
		j.specs[key]++
		j.refs[id] = key
	} else {
		delete(j.refs, id)
	}
	if old == "" {
		return nil
	}
	if j.specs[old]--; j.specs[old] > 0 {
		return nil
	}
	delete(j.specs, old)
	return c.remove(specBucket, []byte(old))
}
