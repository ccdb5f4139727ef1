package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

// askEach is how many jobs are asked for one by one, rather than as a list of all.
const askEach = 8

// waiting is the services that are waited for together.
type waiting struct {
	app    *app
	cl     *client.Client
	left   map[string]func(*api.Job) bool // whether it is as wanted, by its name
	total  int
	failed []*api.Job
	held   error // the first of which nothing starts
	ends   map[string]*crashes
	vain   error // the last whose starts all ended at once
}

// awaitAll waits until all tasks of all services run, whichever starts first, and
// fails if one of them gave up.
func (a *app) awaitAll(c *cli.Context, cl *client.Client, services []*api.JobSpec) error {
	if c.Bool("detach") || len(services) == 0 {
		return nil
	}
	limit := option.Span(c, "timeout")
	ctx, cancel := c.Context, func() {}
	if limit > 0 {
		ctx, cancel = context.WithTimeout(c.Context, limit)
	}
	defer cancel()
	w := &waiting{app: a, cl: cl, left: map[string]func(*api.Job) bool{}, total: len(services), ends: map[string]*crashes{}}
	for _, s := range services {
		w.left[s.Name] = lasting(option.Span(c, "up-for"), func(j *api.Job) bool {
			return j.Counts.Running >= j.Spec.Tasks() && j.Counts.Total() == j.Spec.Tasks() && replaced(c, cl, j)
		})
	}
	if err := w.wait(c, ctx, limit); err != nil || ctx.Err() != nil {
		return err
	}
	if w.held != nil {
		return w.held
	}
	for _, j := range w.failed[:min(len(w.failed), 5)] {
		a.explain(c.Context, cl, j.ID)
		a.lastWords(c.Context, cl, j.ID)
	}
	if w.vain != nil {
		return w.vain
	}
	if len(w.failed) > 0 {
		return exitError(1)
	}
	if !c.Bool("quiet") {
		a.progress("%s as wanted", isOrAre(w.total, "service"))
	}
	return nil
}

func isOrAre(n int, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return fmt.Sprintf("%d %ss are", n, what)
}

// wait looks until nothing is left. When ctx ended because the user detached it
// returns nil.
func (w *waiting) wait(c *cli.Context, ctx context.Context, limit time.Duration) error {
	st, begin := w.app.status(c), time.Now()
	defer st.clear()
	for looks := backoff.New(firstLook, lookPause); ; {
		at := time.Now()
		err := w.look(ctx, st, time.Since(begin) >= lookPause)
		switch {
		case c.Context.Err() != nil:
			st.clear()
			w.app.progress("detached; %s continue: see `mesita ps`", api.Count(len(w.left), "service"))
			return nil
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			names := w.names()
			st.clear()
			w.app.explain(c.Context, w.cl, names[0])
			return api.Errorf(api.CodeTimeout, "%s not there after %s: %s; it continues: see `mesita why %s`", isOrAre(len(names), "service"), limit, someOf(names), names[0])
		case err != nil:
			return err
		case len(w.left) == 0:
			return nil
		}
		if time.Since(begin) >= lookPause { // what is done at once needs no progress
			st.show(fmt.Sprintf("%d of %d services as wanted; waiting for %s", w.total-len(w.left), w.total, someOf(w.names())))
		}
		backoff.Pause(ctx, max(looks.Next(), 4*time.Since(at))) // a long list is not asked for all the time
	}
}

func (w *waiting) names() []string {
	var out []string
	for id := range w.left {
		out = append(out, id)
	}
	slices.SortFunc(out, strings.Compare)
	return out
}

// look asks how those are that are left, and strikes out who is as wanted, or is waited
// for in vain. late is whether there has been time for a start to fail.
func (w *waiting) look(ctx context.Context, st *status, late bool) error {
	seen := map[string]*api.Job{}
	if len(w.left) > askEach {
		jobs, err := w.cl.Jobs(ctx, false)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			seen[j.ID] = j
		}
	}
	deaths := 0
	for id, done := range w.left { // in any order, so that the deaths of each are looked for in time
		j := seen[id]
		if j == nil { // it has ended, or few are left
			var err error
			if j, err = w.cl.Job(ctx, id); err != nil {
				return err
			}
		}
		if err := startsNothing(j); err != nil {
			w.held = cmp.Or(w.held, err)
			delete(w.left, id)
			continue
		}
		if done(j) {
			delete(w.left, id)
			if j.State == api.JobFailed {
				w.failed = append(w.failed, j)
			}
			continue
		}
		if !late || deaths == askEach {
			continue
		}
		deaths++
		if w.ends[id] == nil {
			w.ends[id] = &crashes{app: w.app}
		}
		if err := w.ends[id].tell(ctx, w.cl, j, st); err != nil {
			st.clear()
			if w.vain != nil {
				w.app.progress("%v", w.vain) // the last one is the command's error
			}
			w.vain = err
			delete(w.left, id)
		}
	}
	return nil
}
