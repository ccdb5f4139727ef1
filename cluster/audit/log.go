package audit

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/api"
)

// Defaults of an audit.
const (
	DefaultBytes = 256 << 20
	DefaultAge   = 90 * 24 * time.Hour
)

// Config is what a Log needs.
type Config struct {
	Dir      string        // made when there is something to write
	Node     string        // the name of this node
	MaxBytes int64         // of all files; 0 = DefaultBytes
	MaxAge   time.Duration // 0 = DefaultAge
	Now      func() time.Time
	Log      *slog.Logger
}

const (
	maxQueue = 4096        // records on their way to the disk
	patience = time.Second // for a disk that is slow, before records are lost
)

// Log is the audit of a node. Its methods may be called from any goroutine.
type Log struct {
	cfg     Config
	queue   chan note
	readers chan struct{} // a place for each that reads
	stuck   atomic.Bool   // the disk takes nothing
	opened  chan struct{} // closed once it is known what is on disk
	syncing atomic.Bool
	lost    atomic.Uint64 // records, not yet told of
	lastErr atomic.Pointer[string]
	found   []string // files that were not whole at the start; not changed once opened

	mu     sync.Mutex
	folded folded
	timer  *time.Timer // ends the window
	files  []string    // oldest first
	head   api.AuditHead
	end    int64 // bytes of the newest file that are whole records
}

// note is a record on its way to the disk.
type note struct {
	*api.AuditRecord
	before, after any
}

// maxReaders bounds those who read at a time, each of whom holds a file's records.
const maxReaders = 4

// New makes a Log, which writes nothing until it runs.
func New(cfg Config) *Log {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultBytes
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = DefaultAge
	}
	return &Log{cfg: cfg, opened: make(chan struct{}), queue: make(chan note, maxQueue), readers: make(chan struct{}, maxReaders)}
}

// Note records what somebody did or was refused, and how what it is about was
// before and after; neither is changed any more. It waits for no disk, unless that
// is slow; of one that takes nothing, records are counted and lost.
func (l *Log) Note(r api.AuditRecord, before, after any) {
	r.Time, r.Node = l.cfg.Now(), l.cfg.Node
	if folds(&r, before, after) && !l.fold(&r) {
		return
	}
	l.put(note{&r, before, after})
}

func (l *Log) fold(r *api.AuditRecord) (told bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.folded.kinds == nil {
		l.timer = time.AfterFunc(window, l.endWindow)
	}
	return l.folded.take(r)
}

// endWindow tells how many there were of what was told once.
func (l *Log) endWindow() {
	l.mu.Lock()
	rest := l.folded.end()
	l.mu.Unlock()
	for _, r := range rest {
		l.put(note{AuditRecord: r})
	}
}

func (l *Log) put(n note) {
	select {
	case l.queue <- n:
		return
	default:
	}
	if l.stuck.Load() {
		l.lost.Add(1)
		return
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case l.queue <- n:
	case <-t.C:
		l.stuck.Store(true)
		l.lost.Add(1)
	}
}

// Head is the newest record, which is on disk for good. Told to somebody else, it
// shows later that nothing before it was changed, and that the end is there.
func (l *Log) Head(ctx context.Context) (api.AuditHead, error) {
	if err := l.awaitOpen(ctx); err != nil {
		return api.AuditHead{}, err
	}
	l.mu.Lock()
	head, files := l.head, l.files
	l.mu.Unlock()
	if len(files) == 0 {
		return head, nil
	}
	if !l.syncing.CompareAndSwap(false, true) {
		return api.AuditHead{}, errors.New("the disk takes too long")
	}
	done := make(chan error, 1)
	go func() { // ends when the disk does what it is asked; one at most
		defer l.syncing.Store(false)
		f, err := os.Open(files[len(files)-1])
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		done <- err
	}()
	select {
	case err := <-done:
		return head, err
	case <-ctx.Done():
		return api.AuditHead{}, context.Cause(ctx)
	}
}

// awaitOpen waits until it is known what is on disk: an audit that was not looked
// at yet would be taken for one that is gone.
func (l *Log) awaitOpen(ctx context.Context) error {
	select {
	case <-l.opened:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Against says why the audit is not the one that a mark is of, "" if it is. It
// reads no more than it needs.
func (l *Log) Against(ctx context.Context, m *api.AuditMark) (string, error) {
	if m == nil || m.Number == 0 {
		return "", nil
	}
	files, _, leave, err := l.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	l.mu.Lock()
	head := l.head.Number
	l.mu.Unlock()
	first, at := head+1, ""
	for i := len(files) - 1; i >= 0 && first > m.Number; i-- {
		b, err := read(files[i])
		if err != nil {
			return "", err
		}
		for line := range bytes.Lines(b) {
			r, err := parse(bytes.TrimSuffix(line, []byte("\n")))
			if err != nil {
				continue
			}
			if first = min(first, r.Number); r.Number == m.Number {
				at = r.Hash
			}
		}
	}
	return m.Against(first, head, at), nil
}

// Trouble says why records cannot be kept, "" if they can.
func (l *Log) Trouble() string {
	if err := l.lastErr.Load(); err != nil {
		return *err
	}
	if l.stuck.Load() {
		return "the disk takes too long"
	}
	return ""
}

// Run writes what is noted until ctx ends.
func (l *Log) Run(ctx context.Context) error {
	w := &writer{Log: l}
	w.open()
	close(l.opened)
	defer w.close()
	for {
		select {
		case n := <-w.source():
			w.take(n)
		case <-w.broken:
			w.flush()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
