// Package budget owns how much of what a node has callers may hold at a time:
// bytes, streams, connections. Each class of callers has a pool of its own, so
// that none takes what is kept for another, and each caller a part of its pool.
//
// It does not know what is held, nor who callers are: api/server names them by
// identity, and who takes connections by address or user.
package budget

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
)

// Class is a kind of callers.
type Class uint8

// The classes.
const (
	Stranger Class = iota // shows nothing that was checked: an address
	User                  // shows a token, or is a user of this machine
	Trusted               // a node of the cluster, or root of one
	classes
)

func (c Class) String() string { return [...]string{"strangers", "users", "nodes and root"}[c] }

// Who is a caller: its name is unique in its class.
type Who struct {
	Class Class
	Name  string
}

// Limits are the most that a class holds, and the most of it that one caller does.
type Limits struct{ Total, Each int64 }

// Config is what a Budget needs.
type Config struct {
	Of     string // what is held, in the plural
	Limits [3]Limits
	Log    *slog.Logger
	Floods *Floods // is told of refusals; may be nil
}

// Budget counts what is held. Its methods may be called from any goroutine.
type Budget struct {
	Config
	mu    sync.Mutex
	held  map[Who]int64
	sum   [classes]int64
	noted noted
}

// New makes a Budget.
func New(cfg Config) *Budget { return &Budget{Config: cfg, held: map[Who]int64{}} }

// retry is how long who is refused should wait.
const retry = 5 * time.Second

// Take takes n more for who, or says why not.
func (b *Budget) Take(who Who, n int64) error {
	b.mu.Lock()
	l, mine, all := b.Limits[who.Class], b.held[who], b.sum[who.Class]
	if mine+n <= l.Each && all+n <= l.Total {
		b.held[who], b.sum[who.Class] = mine+n, all+n
		b.mu.Unlock()
		return nil
	}
	greedy, most := who, mine
	if mine+n <= l.Each {
		greedy, most = b.greediest(who.Class)
	}
	b.mu.Unlock()
	b.noted.refused(b.Log, b.Of, greedy, most)
	b.Floods.Refused(who, b.Of)
	e := api.Errorf(api.CodeBusy, "%s holds %d %s here, the most that one may: end some, or try again in %d s", who.Name, mine, b.Of, retry/time.Second)
	if mine+n <= l.Each {
		e = api.Errorf(api.CodeBusy, "%s hold %d %s here, the most that they may together: try again in %d s, or ask another node", who.Class, all, b.Of, retry/time.Second)
	}
	e.Retry = retry
	return e
}

// Give gives back what was taken.
func (b *Budget) Give(who Who, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sum[who.Class] -= n
	if b.held[who] -= n; b.held[who] <= 0 {
		delete(b.held, who)
	}
}

// Held is how much is held by all.
func (b *Budget) Held() (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sum {
		n += s
	}
	return n
}

func (b *Budget) greediest(c Class) (who Who, most int64) {
	for w, n := range b.held {
		if w.Class == c && n > most {
			who, most = w, n
		}
	}
	return who, most
}

// noteEvery is how often at most a log says that something was refused.
const noteEvery = time.Minute

// noted says in a log who floods, and not for each time.
type noted struct {
	mu    sync.Mutex
	last  time.Time
	since int64
}

func (n *noted) refused(log *slog.Logger, of string, who Who, most int64) {
	n.mu.Lock()
	n.since++
	now, count := time.Now(), n.since
	due := n.last.IsZero() || now.Sub(n.last) >= noteEvery
	if due {
		n.last, n.since = now, 0
	}
	n.mu.Unlock()
	if due {
		log.Warn("somebody floods this node, and is refused", "who", who.Name, "class", fmt.Sprint(who.Class), "holds", most, "of", of, "refused", count)
	}
}
