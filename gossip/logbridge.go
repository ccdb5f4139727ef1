package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"time"
)

const (
	logWindow = 10 * time.Second
	logBurst  = 20 // lines per window; anybody may send us packets that do not decrypt

	// What is said of one sender, whose packets may come each second for months,
	// is said once in logAgain; of maxSenders at a time.
	logAgain   = time.Minute
	maxSenders = 256
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
	said    map[string]*repeated // by what was said, and of whom
}

// repeated is a line that came again.
type repeated struct {
	at   time.Time // when it was logged
	more int       // times that it was not, since
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
	msg, again := b.again(level, msg)
	if again {
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

// again reports whether much the same was logged of the same sender just now, else
// what to log. The port of a sender is another each time, and so may be what it
// sends.
func (b *logBridge) again(level slog.Level, msg string) (string, bool) {
	what, from, ok := strings.Cut(msg, " from=")
	if !ok || level < slog.LevelWarn {
		return msg, false
	}
	if host, _, err := net.SplitHostPort(from); err == nil {
		from = host
	}
	if i := strings.IndexAny(what, `":`); i >= 0 {
		what = what[:i]
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key, now := what+" "+from, time.Now()
	was := b.said[key]
	switch {
	case was != nil && now.Sub(was.at) < logAgain:
		was.more++
		return "", true
	case was != nil && was.more > 0:
		msg += fmt.Sprintf(" (and %d times before)", was.more)
	case was == nil && len(b.said) >= maxSenders:
		maps.DeleteFunc(b.said, func(_ string, r *repeated) bool { return now.Sub(r.at) >= logAgain })
	}
	if b.said == nil {
		b.said = map[string]*repeated{}
	}
	if was != nil || len(b.said) < maxSenders {
		b.said[key] = &repeated{at: now}
	}
	return msg, false
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
