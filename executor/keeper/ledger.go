package keeper

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/mesita/mesita/executor/sealed"
)

// ledger is the keeper's memory on disk: what was started, how it ended, and
// what the daemon has taken note of. It is written without waiting for the
// disk, since it has to outlive processes and not the machine: after a reboot
// nothing runs anyway.
//
// A disk that hangs holds up the write itself. So what is to be written is queued
// in the order in which it came to be known, which waits for nothing, and whoever
// must not continue before it is there waits in write.
type ledger struct {
	path string

	mu    sync.Mutex // never held while the disk is written
	queue []*entry
	live  map[string]struct{} // ids in it, once all is written
	dead  int                 // lines of no more use

	writing sync.Mutex // one writes at a time; entries and what follows are of that one
	file    *os.File
	size    int64 // of the whole lines in it
}

// entry is a line on its way to the file, or all that the file is to hold.
type entry struct {
	line line
	all  []Status
	anew bool // all is meant

	done bool
	err  error
}

// line is one line of the ledger.
type line struct {
	Start  *Status `json:"start,omitempty"`
	End    *Status `json:"end,omitempty"`
	Forget string  `json:"forget,omitempty"`

	// Of no attempt, and nothing to a keeper of before: whose slice there may be
	// although no start was asked for, until one is, or nothing is left of it.
	Early *Status `json:"early,omitempty"`
	Left  string  `json:"left,omitempty"`
}

// early is the state of what may be there before its start was asked for. Only
// the ledger has it, for the keepers beside this one.
const early State = "early"

func (v line) encode() ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	b, _ = sealed.Add(b)
	return append(b, '\n'), nil
}

// parseLine reads a line without its end. It fails for one that was torn by a
// power cut, or is damaged.
func parseLine(b []byte) (v line, err error) {
	if _, _, err := sealed.Check(b); err != nil {
		return v, err
	}
	err = json.Unmarshal(b, &v)
	return v, err
}

// openLedger reads the ledger in dir. What was started and has no end is Lost:
// only a keeper that died leaves such.
func openLedger(dir string) (*ledger, []Status, error) {
	l := &ledger{path: filepath.Join(dir, ledgerFile), live: map[string]struct{}{}}
	all, _, err := readLedger(dir) // of a damaged line the task is Lost, or was forgotten
	if err != nil {
		return nil, nil, err
	}
	all = slices.DeleteFunc(all, isEarly)
	for i := range all {
		if all[i].State != Ended {
			all[i].State = Lost
		}
		l.live[all[i].ID] = struct{}{}
	}
	return l, all, l.rewrite(all)
}

func isEarly(s Status) bool { return s.State == early }

// readLedger reads the ledger in dir, which a keeper may be writing, and reports
// whether a line of it is damaged. One that is not there is empty.
func readLedger(dir string) (all []Status, damaged bool, err error) {
	path := filepath.Join(dir, ledgerFile)
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, false, fmt.Errorf("read the keeper's ledger: %w", err)
	}
	b = b[:bytes.LastIndexByte(b, '\n')+1] // one that is being written, or was torn by a power cut, is none
	known, ahead := map[string]Status{}, map[string]Status{}
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, maxMessage)
	for sc.Scan() {
		v, err := parseLine(sc.Bytes())
		switch {
		case err != nil:
			damaged = true
		case v.Start != nil:
			known[v.Start.ID] = *v.Start
			delete(ahead, v.Start.ID)
		case v.End != nil:
			known[v.End.ID] = *v.End
		case v.Forget != "":
			delete(known, v.Forget)
		case v.Early != nil:
			ahead[v.Early.ID] = Status{ID: v.Early.ID, State: early, Slice: v.Early.Slice}
		case v.Left != "":
			delete(ahead, v.Left)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, false, fmt.Errorf("read the keeper's ledger %s: %w", path, err)
	}
	return slices.AppendSeq(slices.Collect(maps.Values(known)), maps.Values(ahead)), damaged, nil
}

// rewrite makes the ledger hold just these. l.writing is held, unless l is new.
func (l *ledger) rewrite(all []Status) error {
	var b []byte
	for _, s := range all {
		v := line{End: &s}
		switch s.State {
		case Starting, Running:
			v = line{Start: &s}
		case early:
			v = line{Early: &s}
		}
		t, err := v.encode()
		if err != nil {
			return err
		}
		b = append(b, t...)
	}
	tmp := l.path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write the keeper's ledger: %w", err)
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("write the keeper's ledger: %w", err)
	}
	if err := os.Rename(tmp, l.path); err != nil {
		return errors.Join(fmt.Errorf("write the keeper's ledger: %w", err), f.Close())
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.size = f, int64(len(b))
	return nil
}

// add writes a line whole or not at all: what is written after a part of one is
// lost with it, and no other keeper trusts a ledger that is damaged.
func (l *ledger) add(v line) error {
	b, err := v.encode()
	if err != nil {
		return err
	}
	if n, err := l.file.Write(b); err != nil {
		if n > 0 {
			err = errors.Join(err, l.file.Truncate(l.size))
		}
		return err
	}
	l.size += int64(len(b))
	return nil
}

// write writes what is queued up to e, and waits for the disk if it must; who
// holds server.mu does not call it.
func (l *ledger) write(e *entry) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	for !e.done {
		l.mu.Lock()
		next := l.queue[0]
		l.queue = l.queue[1:]
		l.mu.Unlock()
		if next.anew {
			next.err = l.rewrite(next.all)
		} else {
			next.err = l.add(next.line)
		}
		next.done = true
	}
	return e.err
}

// enqueue is called with l.mu held.
func (l *ledger) enqueue(e *entry) *entry {
	l.queue = append(l.queue, e)
	return e
}

// early comes before anything is made of a start that may come.
func (l *ledger) early(s Status) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead++ // soon
	return l.enqueue(&entry{line: line{Early: &s}})
}

// left is for what a start did not come for, once it is gone.
func (l *ledger) left(id string) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead++
	return l.enqueue(&entry{line: line{Left: id}})
}

func (l *ledger) start(s Status) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live[s.ID] = struct{}{}
	return l.enqueue(&entry{line: line{Start: &s}})
}

func (l *ledger) end(s Status) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead++
	return l.enqueue(&entry{line: line{End: &s}})
}

// forget is written last of an attempt; what is left then is of no use. It is nil
// for one that is not in the ledger.
func (l *ledger) forget(id string) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.live[id]; !ok {
		return nil
	}
	delete(l.live, id)
	l.dead += 2
	return l.enqueue(&entry{line: line{Forget: id}})
}

// shrink makes the ledger hold just what all tells, if that pays; nil if not.
func (l *ledger) shrink(all func() []Status) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead <= 4096 || l.dead <= 2*len(l.live) {
		return nil
	}
	e := &entry{all: all(), anew: true}
	clear(l.live)
	for _, s := range e.all {
		if !isEarly(s) {
			l.live[s.ID] = struct{}{}
		}
	}
	l.dead = 0 // also if that fails: it is tried again after as many
	return l.enqueue(e)
}

func (l *ledger) close() error { return l.file.Close() }
