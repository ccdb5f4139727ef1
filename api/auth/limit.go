package auth

import (
	"net/http"
	"sync"
	"time"

	"github.com/mesita/mesita/api/budget"
)

const (
	maxFailures = 20              // wrong guesses in a row that cost nothing
	forgive     = 3 * time.Second // for each further one
	maxSources  = 4096            // remembered; the table never grows beyond
)

// limiter counts wrong guesses by where they came from. A source's debt grows
// with each failure and shrinks with time; above maxFailures it must wait.
type limiter struct {
	mu      sync.Mutex
	sources map[string]debt
}

// debt is the number of failures as of a moment.
type debt struct {
	failures float64
	at       time.Time
}

func (d debt) now(t time.Time) float64 {
	return max(0, d.failures-float64(t.Sub(d.at))/float64(forgive))
}

// wait is how long the source must wait until it may try again; 0 = not.
func (l *limiter) wait(source string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, ok := l.sources[source]
	if !ok {
		return 0
	}
	over := d.now(now) - (maxFailures - 1)
	if over <= 0 {
		return 0
	}
	return time.Duration(over * float64(forgive))
}

func (l *limiter) fail(source string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, ok := l.sources[source]
	if !ok && len(l.sources) >= maxSources {
		l.makeRoom(now)
	}
	l.sources[source] = debt{min(d.now(now)+1, 2*maxFailures), now}
}

// makeRoom forgets the one with the least debt of a few: under an attack from
// many addresses the bounds on memory and time matter more than one counter.
func (l *limiter) makeRoom(now time.Time) {
	least, looked := "", 0
	for s, d := range l.sources {
		if looked == 0 || d.now(now) < l.sources[least].now(now) {
			least = s
		}
		if looked++; looked == 8 {
			break
		}
	}
	delete(l.sources, least)
}

// Source is where a request comes from, without what a guesser has many of: the
// user at the other end of a unix socket, an IPv4 address, the /64 of an IPv6 one.
func Source(r *http.Request) string {
	if uid, ok := peerUID(r.Context()); ok {
		return userName(uid)
	}
	return budget.SourceOf(r.RemoteAddr)
}
