package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

const (
	suffix   = ".audit"
	perLog   = 32              // files that fill an audit
	perAge   = 30              // and that its time is split into
	atLeast  = int64(4096)     // bytes of a full file
	mostFile = int64(64 << 20) // bytes of a file that are read
)

// open finds out what is on disk, and where the chain continues. What is not whole
// at the end stays as it is: a new file says so.
func (w *writer) open() {
	entries, err := os.ReadDir(w.cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.cfg.Log.Error("the audit cannot be read", "folder", w.cfg.Dir, "err", err)
	}
	for _, e := range entries {
		if n, ok := numberOf(e.Name()); ok {
			w.files = append(w.files, filepath.Join(w.cfg.Dir, e.Name()))
			w.number = max(w.number, n)
		}
	}
	slices.Sort(w.files)
	for i := len(w.files) - 1; i >= 0 && w.resume(w.files[i], i == len(w.files)-1) == nil; i-- {
	}
	w.mu.Lock()
	w.head, w.end = w.chain, w.size
	w.mu.Unlock()
	w.prune()
	for _, r := range slices.Backward(w.torn) {
		w.add(note{AuditRecord: r})
	}
	w.torn = nil
	w.flush()
}

func numberOf(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil
}

// resume continues after the last record of a file that is as it was written, and
// returns it; nil if there is none. A file with a tear is not continued with: what
// would come after it would hide that it was among the last.
func (w *writer) resume(path string, newest bool) *api.AuditRecord {
	b, err := read(path)
	if err != nil {
		w.cfg.Log.Error("the audit cannot be read", "file", path, "err", err)
	}
	last, torn, whole := w.survey(b)
	if last != nil {
		w.chain = api.AuditHead{Number: last.Number, Hash: last.Hash}
	}
	if newest && last != nil && whole {
		if f, err := os.OpenFile(path, os.O_RDWR, 0o600); err == nil {
			w.file, w.size = f, int64(len(b))
		}
		return last
	}
	if torn > 0 {
		w.cfg.Log.Warn("a file of the audit is not whole: what comes after goes to a new file", "file", path, "bytes", torn)
		w.torn = append(w.torn, resumed(filepath.Base(path), torn, w.cfg.Now(), w.cfg.Node))
		w.found = append(w.found, filepath.Base(path))
	}
	return last
}

// survey returns the last record of a file, how many bytes of it a power cut may
// have left or come after that, and whether more can be appended.
func (w *writer) survey(b []byte) (last *api.AuditRecord, torn int, whole bool) {
	whole = true
	tail := 0 // bytes after the last record
	for skipped := false; len(b) > 0; {
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		size := len(b) - len(rest)
		if r, err := parse(line); err == nil && ended {
			if last == nil {
				w.oldest = r.Time
			}
			last, skipped, tail = r, false, 0
		} else {
			number := uint64(0)
			if last != nil && !skipped {
				number = last.Number + 1
			}
			skipped = true
			if tornLine(line, ended, number) {
				torn, whole = torn+size, false
			} else {
				tail += size
			}
		}
		b = rest
	}
	return last, torn + tail, whole && tail == 0
}

// resumed is the record after bytes of a file that are not a record.
func resumed(file string, torn int, at time.Time, node string) *api.AuditRecord {
	return &api.AuditRecord{Time: at, Node: node, Action: api.AuditResumed, Object: file, Outcome: api.AuditFailed,
		Reason: fmt.Sprintf("%d bytes are not whole record", torn)}
}

// read is a whole file, which rotation keeps small.
func read(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err == nil && st.Size() > mostFile {
		err = fmt.Errorf("%s has %s: it is not a file of the audit", path, api.Bytes(st.Size()))
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// grow makes sure that there is a file that takes more.
func (w *writer) grow() error {
	if w.file != nil {
		full := w.size >= max(w.cfg.MaxBytes/perLog, atLeast)
		long := !w.oldest.IsZero() && w.cfg.Now().Sub(w.oldest) > w.cfg.MaxAge/perAge
		if !full && !long {
			return nil
		}
		if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
			w.cfg.Log.Warn("a file of the audit may not be on disk", "err", err)
		}
		w.file = nil
	}
	if err := os.MkdirAll(w.cfg.Dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(w.cfg.Dir, fmt.Sprintf("%010d%s", w.number+1, suffix))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w.file, w.size, w.oldest = f, 0, w.newest
	w.number++
	w.mu.Lock()
	w.end = 0
	w.files = append(slices.Clip(w.files), path)
	w.mu.Unlock()
	w.prune()
	return nil
}

// prune removes the oldest files while there is too much, and those whose time
// is over.
func (w *writer) prune() {
	var total int64
	sizes, times := make([]int64, len(w.files)), make([]time.Time, len(w.files))
	for i, path := range w.files {
		if st, err := os.Stat(path); err == nil {
			sizes[i], times[i] = st.Size(), st.ModTime()
		}
		total += sizes[i]
	}
	limit, n := time.Now().Add(-w.cfg.MaxAge), 0 // by the clock that the files have
	for ; n < len(w.files)-1; n++ {
		if total <= w.cfg.MaxBytes && times[n].After(limit) {
			break
		}
		if err := os.Remove(w.files[n]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.cfg.Log.Warn("an old file of the audit cannot be removed", "file", w.files[n], "err", err)
			break
		}
		total -= sizes[n]
	}
	w.mu.Lock()
	w.files = slices.Clone(w.files[n:])
	w.mu.Unlock()
}
