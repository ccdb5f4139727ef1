package audit

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
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
