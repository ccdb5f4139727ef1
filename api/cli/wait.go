package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

const (
	firstLook = 20 * time.Millisecond // grows up to lookPause
	lookPause = 500 * time.Millisecond
	settleFor = 200 * time.Millisecond
	waitStep  = 2 * time.Second // between two lines of progress of a batch
)

// progress says on standard error what continues.
func (a *app) progress(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }

// status is one line about something that is waited for: on a terminal it
// changes in place, elsewhere each change is a line, one a second at most.
type status struct {
	w     io.Writer
	live  bool
	quiet bool
	last  string
	at    time.Time
}

func (a *app) status(c *cli.Context) *status {
	return &status{w: a.err, live: isTerminal(a.err), quiet: c.Bool("quiet")}
}

func (s *status) show(text string) {
	switch {
	case s.quiet || text == s.last:
		return
	case s.live:
		fmt.Fprintf(s.w, "\r\x1b[K%s", text)
	case time.Since(s.at) < time.Second:
		return
	default:
		fmt.Fprintln(s.w, text)
	}
	s.last, s.at = text, time.Now()
}

// clear makes room for the result.
func (s *status) clear() {
	if s.live && s.last != "" {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
}

// await looks at a job until it is as wanted, and shows how it gets there. It
// returns nil and no error when the user detached.
func (a *app) await(c *cli.Context, cl *client.Client, id string, timeout time.Duration, done func(*api.Job) bool) (*api.Job, error) {
	ctx, cancel := c.Context, func() {}
	if timeout > 0 {
		ctx, cancel = context.WithTimeout(c.Context, timeout)
	}
	defer cancel()
	st, ends := a.status(c), &crashes{app: a}
	defer st.clear()
	begin := time.Now()
	for looks := backoff.New(firstLook, lookPause); ; {
		j, err := cl.Job(ctx, id)
		switch {
		case c.Context.Err() != nil:
			st.clear()
			a.progress("detached; %s continues: see `mesita show %s`", id, id)
			return nil, nil
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return nil, api.Errorf(api.CodeTimeout, "%s is not there after %s; it continues: see `mesita why %s`", id, timeout, id)
		case err != nil:
			return nil, err
		case done(j):
			return j, nil
		}
		if time.Since(begin) >= lookPause { // what is done at once needs no progress
			if j.Counts.Running < j.Spec.Tasks() || j.Version > 1 { // else it is only seen whether it stays
				st.show(fmt.Sprintf("%s v%d   %s   %s", j.ID, j.Version, jobCounts(j), j.State))
			}
			if err := ends.tell(ctx, cl, j, st); err != nil {
				return nil, err
			}
		}
		backoff.Pause(ctx, looks.Next()) // the next look says why, should ctx have ended
	}
}

// startsNothing fails if a service was changed whose tasks are waited for in vain.
func startsNothing(j *api.Job) error {
	if !j.Hold || j.Counts.Running >= j.Spec.Tasks() {
		return nil
	}
	return api.Errorf(api.CodeConflict, "%s is changed, and on hold with %d of %d running: let it start the rest with `mesita job release %s`, or leave it so with --detach", j.ID, j.Counts.Running, j.Spec.Tasks(), j.ID)
}

// upForFlag is that of commands that wait for services.
func upForFlag() cli.Flag {
	return option.SpanFlag("up-for", time.Second, "`TIME` for which all tasks have to run until they count as there")
}

// lasting is true of a job once it has been as wanted for that long: a program that
// ends as soon as it was started runs, too, when it is looked at in between. A job
// that has ended stays so.
func lasting(upFor time.Duration, wanted func(*api.Job) bool) func(*api.Job) bool {
	var since time.Time
	return func(j *api.Job) bool {
		switch {
		case j.State.Ended():
			return true
		case !wanted(j):
			since = time.Time{}
			return false
		case since.IsZero():
			since = time.Now()
		}
		return j.Spec.Tasks() == 0 || time.Since(since) >= upFor
	}
}

// explain says on standard error why a job or task is as it is.
func (a *app) explain(ctx context.Context, cl *client.Client, id string) {
	w, err := cl.Why(ctx, id)
	if err != nil { // the user waits for another answer
		return
	}
	_ = printWhy(a.err, w) // nobody reads if it fails
}

// waitEnd waits for the end of a job and exits with its code.
func (a *app) waitEnd(c *cli.Context, cl *client.Client, id string) error {
	j, err := a.ended(c, cl, id)
	if err != nil || j == nil {
		return err
	}
	if err := a.printJob(c, j); err != nil {
		return err
	}
	if j.ExitCode != nil && *j.ExitCode != 0 {
		a.explain(c.Context, cl, id)
		a.lastWords(c.Context, cl, id)
		return exitError(*j.ExitCode)
	}
	if j.State != api.JobFinished {
		a.lastWords(c.Context, cl, id)
		return exitError(1)
	}
	return nil
}

// ended is the job once it has ended, nil when the user detached.
func (a *app) ended(c *cli.Context, cl *client.Client, id string) (*api.Job, error) {
	begin, limit := time.Now(), option.Span(c, "timeout")
	st := a.status(c)
	defer st.clear()
	for {
		step := waitStep
		if limit > 0 {
			step = max(min(step, limit-time.Since(begin)), 0)
		}
		j, err := cl.WaitJob(c.Context, id, "ended", step)
		if err == nil {
			return j, nil
		}
		if api.ErrorCode(err) == api.CodeTimeout && (limit == 0 || time.Since(begin) < limit) {
			if j, err = cl.Job(c.Context, id); err == nil {
				st.show(fmt.Sprintf("%s   %s", j.ID, jobCounts(j)))
				continue
			}
		}
		switch {
		case c.Context.Err() != nil:
			st.clear()
			a.progress("detached; %s continues: see `mesita show %s`", id, id)
			return nil, nil
		case api.ErrorCode(err) == api.CodeTimeout:
			return nil, api.Errorf(api.CodeTimeout, "job %s has not ended after %s; it continues: see `mesita show %s`", id, limit, id)
		}
		return nil, err
	}
}
