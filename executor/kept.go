package executor

import (
	"context"
	"os"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/fetch"
	"github.com/mesita/mesita/executor/fetch/cache"
	"github.com/mesita/mesita/executor/logs"
	"github.com/mesita/mesita/isolation"
)

// What tasks fetch and want kept goes through their folders: it is fetched with the rights
// of the first, copied from its folder before it starts, and into those of the others. So
// nobody reads what is kept but the daemon, and nobody writes it.

// keyOf is what the cache knows a file by.
func keyOf(t *api.Task, s *api.TaskSpec, f *api.Fetch) string {
	framework := ""
	if t.Framework != nil {
		framework = t.Framework.Framework
	}
	return cache.Key(framework, t.Partition, s.User, f.URI)
}

// hold reports whether it is the turn of one that is to fetch, as nobody else fetches for
// the cache what it needs of that; then it does.
func (e *Executor) hold(b *bringing) bool {
	if b.direct {
		return true
	}
	var keys []string
	for i := range b.a.spec.Fetch {
		f := &b.a.spec.Fetch[i]
		key := keyOf(b.a.task, b.a.spec, f)
		if !f.Keeps() || slices.Contains(keys, key) || e.kept.Has(key) {
			continue
		}
		if e.loop.keeping[key] != nil {
			return false
		}
		keys = append(keys, key)
	}
	for _, key := range keys {
		e.loop.keeping[key] = b
	}
	b.holds = keys
	return true
}

// release lets others fetch what one fetched for the cache. If that failed, those that
// waited for it fetch on their own at once: one after the other would wait as long.
func (e *Executor) release(b *bringing, failed bool) {
	for _, key := range b.holds {
		delete(e.loop.keeping, key)
	}
	for _, w := range e.loop.toBring {
		for i := range w.a.spec.Fetch {
			if failed && slices.Contains(b.holds, keyOf(w.a.task, w.a.spec, &w.a.spec.Fetch[i])) {
				w.direct = true
			}
		}
	}
	b.holds = nil
}

// putKept puts those of a task's files that are kept into its folder. What cannot be is
// fetched, which says why.
func (e *Executor) putKept(unique string, t *api.Task, s *api.TaskSpec, proc *isolation.Spec) map[int]fetch.Origin {
	dir, err := os.OpenRoot(proc.Dir)
	if err != nil {
		return nil
	}
	defer dir.Close()
	kept := map[int]fetch.Origin{}
	for i := range s.Fetch {
		if f := &s.Fetch[i]; f.Keeps() {
			if is, ok := e.kept.Copy(keyOf(t, s, f), dir, fetch.KeptName(unique, i), proc.UID, proc.GID); ok {
				kept[i] = is
			}
		}
	}
	return kept
}

// keepBrought keeps what one fetched, before its task can change it; then that has it.
func (e *Executor) keepBrought(b *bringing) {
	done := func() {
		e.release(b, false)
		e.bringNext()
		e.dropBringing(b.id)
		if b.a.bringing == b {
			b.a.bringing, b.a.brought = nil, true
			e.supply(b.a)
		}
	}
	if !slices.ContainsFunc(b.a.spec.Fetch, func(f api.Fetch) bool { return f.Keeps() }) {
		done()
		return
	}
	task, spec := b.a.task, b.a.spec
	e.loop.copies.add(func(context.Context) {
		if err := e.keep(b, task, spec); err != nil {
			e.log.Info("what a task fetched is not kept for others", "task", task.ID, "error", err)
		}
		e.post(done)
	})
}

func (e *Executor) keep(b *bringing, t *api.Task, s *api.TaskSpec) error {
	said, err := lastSaid(e.bringLog(b.id), logs.Stdout, bringLogs)
	if err != nil || said == "" {
		return err
	}
	came, err := fetch.Came([]byte(said), s.Fetch)
	if err != nil {
		return err
	}
	dir, err := os.OpenRoot(b.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	for i, is := range came {
		f := &s.Fetch[i]
		if err := e.kept.Add(keyOf(t, s, f), dir, f.Name(), b.uid, is); err != nil {
			return err
		}
	}
	return nil
}
