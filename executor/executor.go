package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/executor/blobs"
	"github.com/mesita/mesita/executor/cores"
	"github.com/mesita/mesita/executor/fetch/cache"
	"github.com/mesita/mesita/executor/journal"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/prepare"
	"github.com/mesita/mesita/executor/weights"
)

// Executor runs one node's tasks.
type Executor struct {
	cfg     Config
	log     *slog.Logger
	rt      Runtime
	journal *journal.Journal
	blobs   *blobs.Cache
	kept    *cache.Cache // of what tasks fetched
	prepare *prepare.Preparer
	reports *reports
	weights *weights.Weights
	cores   *cores.Cores
	disk    *disk
	silent  atomic.Bool // the keeper does not answer
	past    []journal.Entry
	reboot  bool
	synced  chan struct{}

	copying sync.Mutex // this program
	copied  bool       // it was

	mu       sync.Mutex // of what others hand to the loop
	assigned []api.Assignment
	fresh    bool     // assigned is not reconciled yet
	away     bool     // assigned is of a cluster that thinks this node away
	posted   []func() // results to take in
	wake     chan struct{}

	loop loop
}

// loop is what the loop goroutine alone may touch.
type loop struct {
	ctx       context.Context //nolint:containedctx // of Run; its callbacks have no other way to it
	tasks     map[string]*attempt
	graves    graves
	unclaimed unclaimed
	gen       uint64 // of the assignment set
	seq       uint64 // counts processes come to run
	resyncing bool
	again     bool // another resync is due after this one
	ready     bool // what the keeper runs is known
	first     bool // the first set was reconciled
	away      bool // the last set starts nothing
	active    int  // attempts not ended
	aheads    int  // starts that are prepared ahead
	forgets   []string
	gcDue     time.Time
	tidying   bool
	weighing  *time.Timer // weights are written when it fires
	unweighed sync.Once   // that they are not was told
	reweigh   *time.Timer // what was refused is written when it fires; nil = nothing was
	refused   *backoff.Backoff
	dirty     bool // there is garbage since tidying began
	fetching  map[string][]*attempt
	bringing  map[string]*bringing
	toBring   []*bringing          // wait for their turn
	keeping   map[string]*bringing // by keys of the cache: what is being fetched for it
	revive    *time.Timer
	gc        *time.Timer
	prune     *time.Timer // what is left of volumes is removed when it fires; nil: nothing is
	pruning   bool        // volumes are being removed
	pruneMore bool        // and there was news since that began
	trim      *time.Timer // kept folders are removed when it fires; nil: none is

	space                            space
	pace                             pace // of starts
	starts, fetches, copies, freezes *pool
	looks                            *pool        // at what tasks have on disk
	notices                          *pool        // are written where a task may have put anything
	temps                            *pool        // what removes what was put into them may take as long as a task likes
	ops                              *pool        // what may wait for a disk
	asks                             *pool        // what the keeper is asked and waits for none: the stop of a task is not to be late
	underWay                         atomic.Int64 // attempts that are to start and have not yet
	work                             sync.WaitGroup
}

// New opens the node's journal and program cache.
func New(cfg Config, rt Runtime, rep Reporter) (*Executor, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"", "logs", "fetch"} {
		if err := os.MkdirAll(filepath.Join(cfg.DataDir, d), 0o711); err != nil {
			return nil, fmt.Errorf("make the executor's folder: %w", err)
		}
	}
	dirs, err := prepare.OpenFolders(filepath.Join(cfg.DataDir, "tasks"))
	if err != nil {
		return nil, fmt.Errorf("open the tasks' folders: %w", err)
	}
	temps, err := prepare.OpenTemps(filepath.Join(cfg.DataDir, "tmp"))
	if err != nil {
		return nil, fmt.Errorf("open the tasks' temporary folders: %w", err)
	}
	volumes, err := prepare.OpenVolumes(filepath.Join(cfg.DataDir, "volumes"))
	if err != nil {
		return nil, fmt.Errorf("open the volumes: %w", err)
	}
	if _, total, err := cfg.DiskFree(cfg.DataDir); err == nil && cfg.DiskReserve > total/2 {
		return nil, api.FieldErrorf("disk-reserve", "%s is more than half of the disk of %s, which has %s: keep less of it free, or give the node another disk", api.Bytes(cfg.DiskReserve), cfg.DataDir, api.Bytes(total))
	}
	if cfg.Hidden, err = hidden(&cfg); err != nil {
		return nil, err
	}
	programs, err := blobs.Open(filepath.Join(cfg.DataDir, "blobs"), cfg.BlobCache, cfg.Needed)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(cfg.DataDir, "journal.db")
	j, past, err := openJournal(path, cfg.Log)
	if err != nil {
		return nil, err
	}
	boot, err := j.Begin(cfg.BootID, cfg.Age, past)
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	e := &Executor{
		cfg: cfg, log: cfg.Log, rt: rt, journal: j, blobs: programs, past: past,
		prepare: &prepare.Preparer{Node: cfg.Name, CPUs: cfg.CPUs, Mem: cfg.Mem, Hidden: cfg.Hidden, Folders: dirs, Temps: temps, Volumes: volumes, Program: programs.Named, Open: programs.OpenBlob, Env: cfg.Env},
		reboot:  boot != "" && boot != cfg.BootID,
		synced:  make(chan struct{}), wake: make(chan struct{}, 1),
		disk: &disk{cfg: &cfg},
	}
	e.prepare.Room = e.disk.room
	if e.kept, err = cache.Open(filepath.Join(cfg.DataDir, "kept"), cfg.Kept, e.disk.room); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	e.cores = cores.New(nil, nil)
	if cfg.Cores != nil {
		e.cores = cores.New(cfg.Cores, cores.Look("", cfg.Cores.Cores()))
	}
	if cfg.Kernel != nil {
		e.weights = weights.New(weights.Share{CPUs: int64(cfg.CPUs), Mem: int64(cfg.Mem)}, cfg.Kernel)
	}
	e.reports = newReports(rep, cfg.Log, e.acknowledged, func() bool { return e.loop.underWay.Load() > int64(cfg.Starts) })
	return e, nil
}

// hidden are the folders that tasks do not see, wherever their disks are.
func hidden(cfg *Config) ([]string, error) {
	if len(cfg.Hidden) == 0 {
		return nil, nil
	}
	dirs, seen, err := prepare.HiddenFolders(append(slices.Clone(cfg.Hidden), cfg.DataDir)...)
	for _, link := range seen {
		cfg.Log.Warn("tasks as root can see what a link in the node's data folder leads to: put it into that folder, or have the link lead to a folder of its own", "link", link)
	}
	return dirs, err
}

// openJournal opens and reads the journal. One that is damaged is set aside: the
// keeper knows what runs and what ended here, and the cluster what should.
func openJournal(path string, log *slog.Logger) (*journal.Journal, []journal.Entry, error) {
	j, past, err := journal.Open(path, log)
	var bad *journal.CorruptError
	if !errors.As(err, &bad) {
		return j, past, err
	}
	to, err := journal.MoveAside(path)
	if err != nil {
		return nil, nil, errors.Join(bad, err)
	}
	log.Error("the executor's journal was damaged: it is begun anew, and what runs here is taken on as the keeper and the cluster tell it; look after this disk",
		"file", path, "error", bad.Cause, "kept", to)
	return journal.Open(path, log)
}

// Run runs the node's tasks until ctx ends; the tasks continue. It is called once.
func (e *Executor) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, e.journal.Close()) }()
	inner, cancel := context.WithCancel(ctx)
	events, err := e.rt.Events(inner)
	if err != nil {
		cancel()
		return fmt.Errorf("listen to the keeper: %w", err)
	}
	// The journal ends last: what the others post to it is still written.
	jctx, jcancel := context.WithCancel(context.WithoutCancel(ctx))
	var jwork sync.WaitGroup
	var jerr error
	jwork.Go(func() { jerr = e.journal.Run(jctx) })
	l := &e.loop
	*l = loop{ctx: inner, tasks: map[string]*attempt{}, fetching: map[string][]*attempt{}, bringing: map[string]*bringing{}, keeping: map[string]*bringing{}}
	l.starts, l.ops, l.fetches = newPool(inner, &l.work, e.cfg.Starts), newPool(inner, &l.work, 8), newPool(inner, &l.work, 4)
	l.copies = newPool(inner, &l.work, 2) // of files of gigabytes, for which nothing else waits
	l.starts.patience = startPatience
	l.temps = newPool(inner, &l.work, 2)
	l.looks, l.notices = newPool(inner, &l.work, 1), newPool(inner, &l.work, 4)
	l.looks.patience, l.notices.patience = lookPatience, lookPatience
	l.freezes, l.asks = newPool(inner, &l.work, 8), newPool(inner, &l.work, 8)
	l.work.Go(func() { e.reports.run(inner) })
	l.work.Go(func() { e.watchKeeper(inner) })
	e.weighSoon()
	e.load()
	e.resync()
	e.turn(inner, events)
	cancel()
	e.stopTimers()
	for range events { // until the keeper's client closes it
	}
	l.pace.close()
	l.work.Wait()
	jcancel()
	jwork.Wait()
	return jerr
}

// turn is the loop.
func (e *Executor) turn(ctx context.Context, events <-chan keeper.Status) {
	for {
		select {
		case <-ctx.Done():
			return
		case st, ok := <-events:
			if !ok {
				return
			}
			e.event(st)
			for more := true; more; { // what else is there, before the forgets go out
				select {
				case st, ok := <-events:
					if ok {
						e.event(st)
					}
					more = ok
				default:
					more = false
				}
			}
		case <-e.wake:
		}
		e.mu.Lock()
		todo := e.posted
		e.posted = nil
		e.mu.Unlock()
		for _, f := range todo {
			f()
		}
		e.reconcileIfFresh()
		e.flushForgets()
	}
}

// post has f run by the loop.
func (e *Executor) post(f func()) {
	e.mu.Lock()
	e.posted = append(e.posted, f)
	e.mu.Unlock()
	e.poke()
}

func (e *Executor) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// ask runs f in the loop and waits for it.
func (e *Executor) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	e.post(func() {
		f()
		close(done)
	})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Assign hands over the full set of what this node is to run; the newest set
// wins. It never blocks and keeps as, which must not be changed any more.
func (e *Executor) Assign(as []api.Assignment) { e.assign(as, false) }

// AssignAway is Assign of a set that the cluster made while it thinks that this
// node is away: what runs is as in Assign, and nothing starts. The cluster may
// be about to start elsewhere what the keeper said it does not hold.
func (e *Executor) AssignAway(as []api.Assignment) { e.assign(as, true) }

func (e *Executor) assign(as []api.Assignment, away bool) {
	e.mu.Lock()
	e.assigned, e.fresh, e.away = as, true, away
	e.mu.Unlock()
	e.poke()
}

// Synced is closed when the first set has been reconciled: what is left over
// from before and is not in it has been told to end.
func (e *Executor) Synced() <-chan struct{} { return e.synced }

func (e *Executor) stopTimers() {
	for _, a := range e.loop.tasks {
		a.stopTimers()
	}
	for _, t := range []*time.Timer{e.loop.revive, e.loop.gc, e.loop.trim, e.loop.prune, e.loop.weighing, e.loop.reweigh} {
		if t != nil {
			t.Stop()
		}
	}
	e.disk.stop()
}

// after runs f in the loop once d has passed.
func (e *Executor) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(max(d, 0), func() { e.post(f) })
}
