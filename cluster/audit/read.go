package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/mesita/mesita/api"
)

// enter takes a place among those who read.
func (l *Log) enter(ctx context.Context) (files []string, end int64, leave func(), err error) {
	if err := l.awaitOpen(ctx); err != nil {
		return nil, 0, nil, err
	}
	select {
	case l.readers <- struct{}{}:
	case <-ctx.Done():
		return nil, 0, nil, context.Cause(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.files), l.end, func() { <-l.readers }, nil
}

// Newest are up to so many of the newest records that a filter lets through,
// oldest first. Those that are not as they were written are left out: Verify
// tells of them.
func (l *Log) Newest(ctx context.Context, f api.AuditFilter, limit int) ([]api.AuditRecord, error) {
	files, _, leave, err := l.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	var out []api.AuditRecord // newest first
	for i := len(files) - 1; i >= 0 && len(out) < limit; i-- {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		b, err := read(files[i])
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) { // its time was over
				l.cfg.Log.Warn("a file of the audit cannot be read", "file", files[i], "err", err)
			}
			continue
		}
		old := true // nothing in it is young enough
		for b = b[:max(bytes.LastIndexByte(b, '\n'), 0)]; len(b) > 0 && len(out) < limit; {
			at := bytes.LastIndexByte(b, '\n')
			if r, err := parse(b[at+1:]); err == nil {
				old = old && r.Time.Before(f.Since)
				if f.Match(r) {
					out = append(out, *r)
				}
			}
			b = b[:max(at, 0)]
		}
		if old && !f.Since.IsZero() {
			break
		}
	}
	slices.Reverse(out)
	return out, nil
}

// maxFaults is how many are told.
const maxFaults = 16

// Verify reads all of the audit and says where it is not as it was written. It
// also looks up the hash of the record with the number at, 0 = none.
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
			v.fault(0, fmt.Sprintf("it cannot be read: %v", err))
			continue
		}
		if i == len(files)-1 && int64(len(b)) > end { // another write is under way, or has been since
			b = b[:end]
		}
		v.file(b)
	}
	if v.torn.What != "" {
		v.Faults = append(v.Faults, v.torn)
	} else if v.Head.Number < head.Number {
		v.fault(0, fmt.Sprintf("the end is missing: the newest record is %d, and %d was written", v.Head.Number, head.Number))
	}
	return &v.AuditCheck, nil
}

// verifier goes through the files in order.
type verifier struct {
	api.AuditCheck
	at   uint64
	name string
	lost bool           // the record before cannot be read
	torn api.AuditFault // the end of the file before is not whole, and nothing says so yet
}

func (v *verifier) fault(line int, what string) {
	if len(v.Faults) < maxFaults {
		v.Faults = append(v.Faults, api.AuditFault{File: v.name, Line: line, Number: v.Head.Number + 1, What: what})
	}
}

func (v *verifier) file(b []byte) {
	for line := 1; len(b) > 0; line++ {
		n := bytes.IndexByte(b, '\n')
		if n < 0 {
			v.torn = api.AuditFault{File: v.name, Line: line, Number: v.Head.Number + 1, What: fmt.Sprintf("the file ends with %d bytes that are no whole record", len(b))}
			return
		}
		v.record(line, b[:n])
		b = b[n+1:]
	}
}

func (v *verifier) record(line int, b []byte) {
	r, err := parse(b)
	if err != nil {
		v.fault(line, err.Error())
		v.Head.Number++
		v.lost = true
		return
	}
	if v.torn.What != "" {
		if r.Action == api.AuditResumed && r.Object == v.torn.File {
			v.Notes = append(v.Notes, fmt.Sprintf("%s: %s, as a power cut leaves it; the audit went on after it", v.torn.File, v.torn.What))
		} else {
			v.Faults = append(v.Faults, v.torn)
		}
		v.torn = api.AuditFault{}
	}
	switch {
	case v.Records == 0:
		v.First = r.Number
	case v.lost && r.Number > v.Head.Number: // as was told
	case r.Number != v.Head.Number+1:
		v.fault(line, fmt.Sprintf("record %d follows record %d", r.Number, v.Head.Number))
	case r.Prev != v.Head.Hash:
		v.fault(line, "the record before it is not the one that was there when it was written")
	}
	v.Records++
	v.lost = false
	v.Head = api.AuditHead{Number: r.Number, Hash: r.Hash}
	if r.Number == v.at {
		v.At = r.Hash
	}
}
