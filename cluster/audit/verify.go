package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
)

const (
	maxFaults = 16              // that are told
	unwritten = 2 * time.Minute // that the kernel keeps what was written from the disk, at most: a power cut reaches no further back
)

// Verify reads all of the audit and says where it is not as it was written. It
// also looks up the hash of the record with the number at, 0 = none. What a power
// cut left is not a fault where the start after it has recorded it.
func (l *Log) Verify(ctx context.Context, at uint64) (*api.AuditCheck, error) {
	if err := l.awaitOpen(ctx); err != nil {
		return nil, err
	}
	l.mu.Lock()
	head := l.head
	l.mu.Unlock()
	files, end, leave, err := l.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	v := verifier{AuditCheck: api.AuditCheck{Node: l.cfg.Node}, at: at}
	for i, path := range files {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		b, err := read(path)
		if errors.Is(err, fs.ErrNotExist) && v.Files == 0 {
			continue // its time was over
		}
		v.Files++
		v.name = filepath.Base(path)
		if err != nil {
			v.fault(api.AuditUnreadable, 0, fmt.Sprintf("it cannot be read: %v", err))
			continue
		}
		if i == len(files)-1 && int64(len(b)) > end { // another write is under way, or has been since
			b = b[:end]
		}
		v.file(b)
	}
	v.end(l.found, head.Number)
	return &v.AuditCheck, nil
}

// verifier goes through the files in order.
type verifier struct {
	api.AuditCheck
	at      uint64
	name    string
	skipped uint64 // lines since the newest record that are none
	torn    []tear
}

// tear is what looks as a power cut leaves it: a fault, unless it is among the last
// that was written before a start, which says so.
type tear struct {
	file   string
	faults []api.AuditFault
	since  time.Time // of the first whole record of the file after it
}

func (v *verifier) next() uint64 { return v.Head.Number + v.skipped + 1 }

func (v *verifier) fault(kind api.AuditDamage, line int, what string) {
	v.tell(api.AuditFault{Kind: kind, File: v.name, Line: line, Number: v.next(), What: what})
}

func (v *verifier) tell(faults ...api.AuditFault) {
	v.Faults = append(v.Faults, faults[:min(len(faults), maxFaults-len(v.Faults))]...)
}

func (v *verifier) file(b []byte) {
	for line := 1; len(b) > 0; line++ {
		text, rest, ended := bytes.Cut(b, []byte{'\n'})
		if r, err := parse(text); err == nil && ended {
			v.record(line, r)
		} else {
			v.noRecord(line, text, ended)
		}
		b = rest
	}
}

// noRecord takes a line that is not what was written.
func (v *verifier) noRecord(line int, text []byte, ended bool) {
	what := errAltered.Error()
	if !ended {
		what = fmt.Sprintf("the file ends with %d bytes that are not whole record", len(text))
	}
	f := api.AuditFault{Kind: api.AuditAltered, File: v.name, Line: line, Number: v.next(), What: what}
	number := v.next()
	if v.Records == 0 || v.skipped > 0 {
		number = 0 // it is not known
	}
	v.skipped++
	if !tornLine(text, ended, number) {
		v.tell(f)
		return
	}
	if n := len(v.torn); n == 0 || v.torn[n-1].file != v.name {
		v.torn = append(v.torn, tear{file: v.name})
	}
	t := &v.torn[len(v.torn)-1]
	t.since = time.Time{}
	if len(t.faults) < maxFaults {
		t.faults = append(t.faults, f)
	}
}

// tornLine reports whether a power cut leaves such a line in place of the record with
// a number, 0 = any: the beginning of it, or NUL bytes where blocks were not on
// disk yet, which no record has. It changes no byte of those that were.
func tornLine(text []byte, ended bool, number uint64) bool {
	start, _, nul := bytes.Cut(text, []byte{0})
	if ended && !nul {
		return false
	}
	begin := []byte(`{"number":`)
	if number > 0 {
		begin = fmt.Appendf(begin, "%d,", number)
	}
	n := min(len(start), len(begin))
	return bytes.Equal(start[:n], begin[:n])
}

func (v *verifier) record(line int, r *api.AuditRecord) {
	v.mend(r)
	switch {
	case v.Records == 0:
		v.First = r.Number
	case v.skipped > 0 && r.Number > v.Head.Number: // as was told
	case r.Number > v.Head.Number+1:
		v.fault(api.AuditMissing, line, fmt.Sprintf("record %d follows record %d: what was between is gone", r.Number, v.Head.Number))
	case r.Number <= v.Head.Number:
		v.fault(api.AuditInserted, line, fmt.Sprintf("record %d follows record %d: it was put in, or moved", r.Number, v.Head.Number))
	case r.Prev != v.Head.Hash:
		v.fault(api.AuditAltered, line, "the record before it is not the one that was there when it was written")
	}
	v.Records++
	v.skipped = 0
	v.Head = api.AuditHead{Number: r.Number, Hash: r.Hash}
	if r.Number == v.at {
		v.At = r.Hash
	}
	if r.Action == api.AuditBroken {
		v.tell(api.AuditFault{Kind: api.AuditCutOff, File: v.name, Line: line, Number: r.Number, What: "the node found as it started: " + r.Reason})
	}
}

// mend looks what a whole record makes of what seemed torn before it.
func (v *verifier) mend(r *api.AuditRecord) {
	resumed := r.Action == api.AuditResumed
	v.torn = slices.DeleteFunc(v.torn, func(t tear) bool { return resumed && t.file == r.Object && t.file != v.name && v.explained(t) })
	kept := v.torn[:0]
	for _, t := range v.torn {
		switch {
		case t.file != v.name && !resumed, t.file == v.name && !t.since.IsZero() && r.Time.Sub(t.since) > unwritten:
			v.tell(t.faults...)
			continue
		case t.file == v.name && t.since.IsZero():
			t.since = r.Time
		}
		kept = append(kept, t)
	}
	v.torn = kept
}

// explained notes what a start has recorded.
func (v *verifier) explained(t tear) bool {
	for _, f := range t.faults {
		v.Notes = append(v.Notes, fmt.Sprintf("%s, line %d: %s, as a power cut leaves it; the audit continued after it", f.File, f.Line, f.What))
	}
	return true
}

// end tells what is left: found are the files that this start found torn, and may
// not have been able to record yet, head is the newest record that was written.
func (v *verifier) end(found []string, head uint64) {
	whole := len(v.torn) == 0
	for _, t := range v.torn {
		if !slices.Contains(found, t.file) || !v.explained(t) {
			v.tell(t.faults...)
		}
	}
	v.torn = nil
	if whole && v.skipped == 0 && v.Head.Number < head {
		v.fault(api.AuditCutOff, 0, fmt.Sprintf("the end is missing: the newest record is %d, and %d was written", v.Head.Number, head))
	}
}
