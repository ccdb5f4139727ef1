package cli

import (
	"context"
	"fmt"
	"sync"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
)

// maxFollowed is how many tasks are followed at a time: each is a stream.
const maxFollowed = 64

// followed are the tasks of a job whose logs are being read.
type followed struct {
	cl *client.Client
	o  client.LogOptions
	w  *lineWriter
	g  *errgroup.Group

	mu      sync.Mutex
	seen    map[string]bool // by task
	now     int             // of those, being read
	skipped bool            // some were too many, and it was said
}

// followJob prints the logs of a job's tasks as they come, also of those that start
// later, until the job has ended. Of a few tasks it prints those that ended, too.
func (a *app) followJob(c *cli.Context, cl *client.Client, id string, o client.LogOptions, w *lineWriter) error {
	// What starts after this event is told by the events that follow.
	after, err := cl.LastEvent(c.Context)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(c.Context)
	f := &followed{cl: cl, o: o, w: w, g: g, seen: map[string]bool{}}
	tasks, ended, err := f.look(ctx, a, id)
	if err != nil {
		return noJobOrTask(id, err)
	}
	a.notStarted(id, tasks...)
	f.o.Tail = 0 // of what begins later all is wanted
	events, over := context.WithCancel(ctx)
	defer over()
	g.Go(func() error {
		if ended {
			return nil
		}
		defer over()
		again := func() error { // some events were lost
			_, ended, err := f.look(ctx, a, id)
			if ended {
				over()
			}
			return err
		}
		return cl.EventsFromNow(events, client.EventQuery{For: id, After: after, Brief: true}, again, func(e api.Event) error {
			if e.Task != nil && e.Task.Job == id {
				f.follow(ctx, a, e.Task)
			}
			switch e.Kind {
			case api.EventJobEnded, api.EventJobRemoved, api.EventJobHidden:
				over()
			}
			return nil
		})
	})
	return g.Wait()
}

// look follows the tasks that a job has now, and reports whether it had ended before
// that: if not, events tell of what the list has not.
func (f *followed) look(ctx context.Context, a *app, id string) (tasks []*api.Task, ended bool, err error) {
	if ended, err = jobOver(ctx, f.cl, id); err != nil {
		return nil, false, err
	}
	if tasks, err = f.cl.Tasks(ctx, id, "", true); err != nil {
		return nil, false, err
	}
	if len(tasks) > 1 {
		f.w.name()
	}
	for _, t := range tasks {
		if len(tasks) <= maxFollowed || !t.State.Final() {
			f.follow(ctx, a, t)
		}
	}
	return tasks, ended, nil
}

// jobOver reports whether a job has ended, or is forgotten.
func jobOver(ctx context.Context, cl *client.Client, id string) (bool, error) {
	j, err := cl.Job(ctx, id)
	if api.ErrorCode(err) == api.CodeNotFound {
		return true, nil
	}
	return err == nil && j.State.Ended(), err
}

// follow reads a task's log from its first start on, unless it is read already.
func (f *followed) follow(ctx context.Context, a *app, t *api.Task) {
	if t.Pending() && len(t.Earlier) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen[t.ID] {
		return
	}
	if f.now == maxFollowed {
		if !f.skipped {
			fmt.Fprintf(a.err, "mesita: %s are followed, and no more are while these run: `mesita logs %s` prints another's\n", api.Count(maxFollowed, "task"), t.ID)
		}
		f.skipped = true
		return
	}
	f.seen[t.ID] = true
	f.now++
	if len(f.seen) > 1 {
		f.w.name()
	}
	o := f.o
	f.g.Go(func() error {
		err := f.cl.Logs(ctx, t.ID, o, f.w.write)
		f.mu.Lock()
		f.now--
		f.mu.Unlock()
		if client.NoLog(err) { // which is not a failure beside those of other tasks
			return nil
		}
		return err
	})
}
