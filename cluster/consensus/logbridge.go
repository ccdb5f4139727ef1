package consensus

import (
	"context"
	"io"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	logQuiet    = 30 * time.Second // between two equal warnings
	logMessages = 256              // distinct ones that are remembered
)

// logBridge is raft's logger. What raft calls an error is what happens on
// every network with a node that is down, and it says so several times a
// second: that is a warning here, once in a while. The rest is for debugging.
type logBridge struct {
	log  *slog.Logger
	seen *seen
	name string
	args []any
}

var _ hclog.Logger = (*logBridge)(nil)

// seen tells when a message was last let through.
type seen struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newLogBridge(l *slog.Logger) *logBridge {
	return &logBridge{log: l, seen: &seen{last: map[string]time.Time{}}}
}

func (s *seen) quiet(msg string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if t, ok := s.last[msg]; ok && now.Sub(t) < logQuiet {
		return true
	}
	if len(s.last) >= logMessages {
		clear(s.last)
	}
	s.last[msg] = now
	return false
}

func (b *logBridge) Log(level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	if level >= hclog.Error {
		to = slog.LevelWarn
	}
	ctx := context.Background() // hclog has none
	if !b.log.Enabled(ctx, to) || to == slog.LevelWarn && b.seen.quiet(msg) {
		return
	}
	b.log.Log(ctx, to, "raft: "+msg, append(b.args[:len(b.args):len(b.args)], plain(args)...)...)
}

// plain turns hclog's lazy values into values that slog prints.
func plain(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		switch v := a.(type) {
		case hclog.Format:
			out[i] = v
		case error:
			out[i] = v.Error()
		default:
			out[i] = v
		}
	}
	return out
}

func (b *logBridge) Trace(msg string, args ...any) { b.Log(hclog.Trace, msg, args...) }
func (b *logBridge) Debug(msg string, args ...any) { b.Log(hclog.Debug, msg, args...) }
func (b *logBridge) Info(msg string, args ...any)  { b.Log(hclog.Info, msg, args...) }
func (b *logBridge) Warn(msg string, args ...any)  { b.Log(hclog.Warn, msg, args...) }
func (b *logBridge) Error(msg string, args ...any) { b.Log(hclog.Error, msg, args...) }

func (b *logBridge) debugging() bool {
	return b.log.Enabled(context.Background(), slog.LevelDebug)
}

func (b *logBridge) IsTrace() bool { return false }
func (b *logBridge) IsDebug() bool { return b.debugging() }
func (b *logBridge) IsInfo() bool  { return b.debugging() }
func (b *logBridge) IsWarn() bool  { return b.debugging() }
func (b *logBridge) IsError() bool { return true }

func (b *logBridge) ImpliedArgs() []any { return b.args }

func (b *logBridge) With(args ...any) hclog.Logger {
	c := *b
	c.args = append(b.args[:len(b.args):len(b.args)], plain(args)...)
	return &c
}

func (b *logBridge) Name() string                   { return b.name }
func (b *logBridge) Named(name string) hclog.Logger { return b.ResetNamed(name) }
func (b *logBridge) SetLevel(hclog.Level)           {} // slog's handler decides
func (b *logBridge) GetLevel() hclog.Level          { return hclog.Debug }

func (b *logBridge) ResetNamed(name string) hclog.Logger {
	c := *b
	c.name = name
	return &c
}

func (b *logBridge) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(b.log.Handler(), slog.LevelDebug)
}

func (b *logBridge) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return b.StandardLogger(nil).Writer()
}
