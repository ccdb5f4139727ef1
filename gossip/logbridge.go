package gossip

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	logWindow = 10 * time.Second
	logBurst  = 20 // lines per window; anybody may send us packets that do not decrypt
)

// logBridge is the io.Writer of memberlist's *log.Logger. memberlist calls an
// error what is every day's business on a network, so that is a warning here.
type logBridge struct {
	log     *slog.Logger
	suspect func(id string)

	mu      sync.Mutex
	began   time.Time
	lines   int
	dropped int
}

func (b *logBridge) Write(p []byte) (int, error) {
	level, msg := parseLine(string(p))
	// memberlist has no event for a suspicion; the line is all it gives away.
	if rest, ok := strings.CutPrefix(msg, "Suspect "); ok && b.suspect != nil {
		if id, _, ok := strings.Cut(rest, " has failed"); ok {
			b.suspect(id)
		}
	}
	if !b.log.Enabled(context.Background(), level) {
		return len(p), nil
	}
	if ok, dropped := b.allow(); ok {
		if dropped > 0 {
			b.log.Warn("gossip: too many log lines, some were left out", "lines", dropped)
		}
		b.log.Log(context.Background(), level, "gossip: "+msg)
	}
	return len(p), nil
}

func (b *logBridge) allow() (ok bool, dropped int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); now.Sub(b.began) >= logWindow {
		dropped = b.dropped
		b.began, b.lines, b.dropped = now, 0, 0
	}
	if b.lines >= logBurst {
		b.dropped++
		return false, 0
	}
	b.lines++
	return true, dropped
}

func parseLine(line string) (slog.Level, string) {
	level := slog.LevelInfo
	line = strings.TrimSpace(line)
	for prefix, l := range map[string]slog.Level{
		"[DEBUG] ": slog.LevelDebug, "[INFO] ": slog.LevelInfo, "[WARN] ": slog.LevelWarn,
		"[ERR] ": slog.LevelWarn, "[ERROR] ": slog.LevelWarn,
	} {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			level, line = l, rest
			break
		}
	}
	return level, strings.TrimPrefix(line, "memberlist: ")
}
