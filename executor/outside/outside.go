// Package outside sees what programs that are not mesita's have of what the node
// has for tasks: ports that they are bound to, and memory. It owns how that is
// looked at, and when a change is worth telling; it holds nothing, and what
// follows is for others: the executor asks before it starts a task, and the
// node's agent tells the cluster.
package outside

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/mesita/mesita/api"
)

// Config is what a Watch needs.
type Config struct {
	Name string        // of the node, for words
	Has  api.Resources // for tasks
	// TaskMemory is what the tasks here have of the memory that nobody else could
	// be given, in bytes. Without it, memory is not looked at.
	TaskMemory func() (int64, error)
	Proc       string // "" = /proc
	Log        *slog.Logger
}

// gone is after how many looks a port is free that was taken: who restarts is
// not told about.
const gone = 2

// ask is how often it is looked for whose a port is, which takes a look at all
// open files of the machine. Some are nobody's that is seen here: the kernel's, or
// of a container.
const ask = 2

// Watch looks at one machine. It is safe for concurrent use.
type Watch struct {
	cfg Config

	mu     sync.Mutex
	looked bool
	ports  map[int64]*port
	mem    api.Bytes
	told   *api.Outside
	warned map[string]bool
}

// port is one that others have, or had.
type port struct {
	socket socket
	by     string
	asked  int  // looks for whose it is
	sure   bool // seen twice, or by who wanted it
	refuse bool // a task was refused it: it is tried, as there is more than sockets that are listed
	missed int  // looks since it was seen
}

// New makes a watch, which has seen nothing yet.
func New(cfg Config) *Watch {
	cfg.Proc = cmp.Or(cfg.Proc, "/proc")
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Watch{cfg: cfg, ports: map[int64]*port{}, warned: map[string]bool{}}
}

// Look looks anew. What lasts shorter than two looks is not told, but for what
// there was at the first. own are the ports of the tasks here, asked for after
// the look.
func (w *Watch) Look(own func() api.Ranges) {
	var seen map[int64]socket
	var perr error
	if len(w.cfg.Has.Ports) > 0 {
		seen, perr = listeners(w.cfg.Proc, w.cfg.Has.Ports)
		w.note("which ports other programs have", perr)
	}
	used, merr := w.memory()
	w.note("how much memory other programs have", merr)
	tasks := own()
	w.mu.Lock()
	defer w.mu.Unlock()
	if perr == nil {
		w.takeIn(seen, tasks)
	}
	if merr == nil {
		w.mem = settle(w.mem, used, w.cfg.Has.Mem/steps)
	}
	w.looked = true
	w.told = w.sum()
}

// note warns of what cannot be looked at, once until it can be.
func (w *Watch) note(what string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && !w.warned[what] {
		w.cfg.Log.Warn("it is not known "+what+": tasks may be given what is taken", "error", err)
	}
	w.warned[what] = err != nil
}

// takeIn compares what is bound with what was.
func (w *Watch) takeIn(seen map[int64]socket, own api.Ranges) {
	var unnamed []uint64
	for n, s := range seen {
		p := w.ports[n]
		switch {
		case own.Has(n):
			continue
		case p == nil:
			p = &port{sure: !w.looked}
			w.ports[n] = p
		default:
			p.sure = true
		}
		if p.socket.inode != s.inode {
			p.asked, p.by = 0, ""
		}
		if s.inode != 0 && p.asked < ask && p.by == "" {
			p.asked++
			unnamed = append(unnamed, s.inode)
		}
		p.socket, p.missed = s, 0
	}
	names := owners(w.cfg.Proc, unnamed)
	for n, p := range w.ports {
		s, there := seen[n]
		if there && names[s.inode] != "" {
			p.by = names[s.inode]
		}
		if own.Has(n) {
			delete(w.ports, n)
			continue
		}
		if there || p.refuse && bound(n) != "" {
			continue
		}
		if p.missed++; p.missed >= gone || !p.sure {
			delete(w.ports, n)
		}
	}
}

// sum is what there is to tell.
func (w *Watch) sum() *api.Outside {
	by := map[string]api.Ranges{}
	for _, n := range slices.Sorted(maps.Keys(w.ports)) {
		if p := w.ports[n]; p.sure {
			by[p.by] = by[p.by].Union(api.Ranges{{First: n, Last: n}})
		}
	}
	out := &api.Outside{Mem: w.mem, Ports: api.Holders(by)}
	if out.Equal(nil) {
		return nil
	}
	return out
}

// Told is what there is to tell since the last look; nil: nothing. It is not to
// be changed.
func (w *Watch) Told() *api.Outside {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told
}

// TakenError is that a task cannot have its ports.
type TakenError struct {
	Holders []api.PortHolder
	text    string
}

func (e *TakenError) Error() string { return e.text }

// Free tries the ports of a task that is to start, by name. It is a TakenError
// if another program has one, and nil if none has, or that cannot be told.
func (w *Watch) Free(ports map[string]int) error {
	var texts []string
	by := map[string]api.Ranges{}
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		n := int64(ports[name])
		how := bound(n)
		if how == "" {
			continue
		}
		who, s := w.refused(n)
		by[who] = by[who].Union(api.Ranges{{First: n, Last: n}})
		texts = append(texts, fmt.Sprintf("port %d (%s) is taken on node %s by %s", n, name, w.cfg.Name, s.text(who, how)))
	}
	if len(texts) == 0 {
		return nil
	}
	return &TakenError{api.Holders(by), strings.Join(texts, "; ")}
}

// refused takes note that a port is taken, and finds out by whom.
func (w *Watch) refused(n int64) (who string, s socket) {
	seen, err := listeners(w.cfg.Proc, api.Ranges{{First: n, Last: n}})
	if s = seen[n]; err == nil && s.inode != 0 {
		who = owners(w.cfg.Proc, []uint64{s.inode})[s.inode]
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ports[n] = &port{socket: s, by: who, sure: true, refuse: true}
	w.told = w.sum()
	return who, s
}
