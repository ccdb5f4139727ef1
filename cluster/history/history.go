package history

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
)

// Defaults of a history.
const (
	DefaultBytes = 256 << 20
	DefaultAge   = 30 * 24 * time.Hour
)

// Source is where the events come from.
type Source interface {
	// Events returns up to limit events after index, and waits until there is
	// one. It fails with CodeConflict when they are no longer kept, or index has
	// not been reached.
	Events(ctx context.Context, after uint64, limit int) ([]api.Event, error)
	// EventsBefore returns up to n of the newest events before index.
	EventsBefore(index uint64, n int) []api.Event
	// EventBounds are the indexes of the oldest event that is kept, 0 if there is
	// none, and of the newest.
	EventBounds() (oldest, newest uint64)
}

// Config is what a History needs.
type Config struct {
	Dir      string // made when there is something to write
	Node     string // the name of this node
	Source   Source
	MaxBytes int64         // of all segments; 0 = DefaultBytes
	MaxAge   time.Duration // 0 = DefaultAge
	Now      func() time.Time
	Log      *slog.Logger
}

// History is the events of one node. All methods may be called from any
// goroutine.
type History struct {
	cfg     Config
	readers chan struct{} // a place for each query under way

	mu       sync.Mutex
	segments []segment // oldest first
}

// maxReaders bounds the queries at a time, each of which holds a frame and the
// headers of a segment.
const maxReaders = 4

// New makes a History, which is empty until it runs.
func New(cfg Config) *History {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultBytes
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = DefaultAge
	}
	return &History{cfg: cfg, readers: make(chan struct{}, maxReaders)}
}

// Run follows the events until ctx ends. What goes wrong with the disk is
// logged, once, and never ends it: a node does not stop for its memories.
func (h *History) Run(ctx context.Context) error {
	w := &writer{History: h}
	w.open()
	defer w.close()
	return w.follow(ctx)
}
