package cli

import (
	"slices"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

// forgetters is how many jobs are forgotten at a time: the leader writes what comes
// together into one log entry.
const forgetters = 16

func (a *app) jobRm() *cli.Command {
	return &cli.Command{
		Name: "rm", Usage: "forget jobs that ended", ArgsUsage: "[JOB…]",
		Description: "What ended is forgotten by itself after 72 h, or when more than 20,000 jobs have ended.\n\n" +
			example("mesita job rm 57 58", "mesita job rm --ended --older 1d", "mesita job rm --ended -l team=web --dry-run"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "ended", Usage: "all jobs that ended and that you may forget"},
			&cli.StringFlag{Name: "older", Usage: "of those, the ones that ended longer than `TIME` ago, such as 12h or 1d"},
			labelFlag("the label"),
			option.DryRunFlag(),
		},
		Action: func(c *cli.Context) error {
			if !c.Bool("ended") && (c.IsSet("older") || c.IsSet("label")) {
				return usage("mesita job rm: --older and --label (-l) choose among --ended; see --help")
			}
			if err := args(c, 0, -1, "job rm JOB…, or job rm --ended"); err != nil {
				return err
			}
			if c.Bool("ended") == (c.NArg() > 0) {
				return usage("mesita job rm JOB…, or job rm --ended: name jobs, or say --ended; see --help")
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			ids := c.Args().Slice()
			if c.Bool("ended") {
				if ids, err = endedJobs(c, cl); err != nil {
					return err
				}
				if len(ids) == 0 {
					a.progress("no such job has ended")
				}
			}
			return a.forget(c, cl, ids)
		},
	}
}

// endedJobs are the ids of the jobs that --ended and what narrows it mean, the oldest
// end first.
func endedJobs(c *cli.Context, cl *client.Client) ([]string, error) {
	var older api.Duration
	var err error
	if c.IsSet("older") {
		if older, err = api.ParseSpan(c.String("older")); err != nil {
			return nil, api.FieldErrorf("older", "%v", err)
		}
		if older < 0 {
			return nil, api.FieldErrorf("older", "%s is negative: give a span such as 1d", older)
		}
	}
	if _, err := api.ParseLabels("label", c.StringSlice("label")); err != nil {
		return nil, err
	}
	jobs, err := cl.Jobs(c.Context, true, c.StringSlice("label")...)
	if err != nil {
		return nil, err
	}
	now, err := cl.Clock(c.Context) // theirs, by which the ends are dated
	if err != nil {
		return nil, err
	}
	before := now.Add(-time.Duration(older))
	if older == 0 {
		before = now.AddDate(1, 0, 0)
	}
	jobs = slices.DeleteFunc(jobs, func(j *api.Job) bool { return j.Ended.IsZero() || j.Ended.After(before) })
	slices.SortFunc(jobs, func(a, b *api.Job) int { return a.Ended.Compare(b.Ended) })
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
	}
	return ids, nil
}

// forget has jobs forgotten, a few at a time: those that were named until one is
// refused, of all that ended those that are still there and may be.
func (a *app) forget(c *cli.Context, cl *client.Client, ids []string) error {
	if c.Bool("dry-run") {
		for _, id := range ids {
			if _, err := cl.Job(c.Context, id); err != nil {
				return err
			}
			a.progress("would forget job %s", id)
		}
		return nil
	}
	errs, left := make([]error, len(ids)), 0
	for from := 0; from < len(ids); from += forgetters {
		some := ids[from:min(from+forgetters, len(ids))]
		var all sync.WaitGroup
		for i, id := range some {
			all.Go(func() { errs[from+i] = cl.RemoveJob(c.Context, id) })
		}
		all.Wait()
		var first error
		for i, id := range some {
			switch err := errs[from+i]; {
			case err == nil:
				a.progress("job %s is forgotten", id)
			case c.Bool("ended") && (api.ErrorCode(err) == api.CodeNotFound || api.ErrorCode(err) == api.CodeConflict): // forgotten or started anew meanwhile
			case c.Bool("ended") && api.ErrorCode(err) == api.CodeNotAllowed:
				left++
			case first == nil:
				first = err
			}
		}
		if first != nil {
			return first
		}
	}
	if left > 0 {
		a.progress("%s stay: they are not yours to forget, see `mesita can`", api.Count(left, "job"))
	}
	return nil
}
