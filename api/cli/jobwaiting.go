package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) jobHold() *cli.Command {
	return a.jobVerb(jobVerb{name: "hold", use: "start nothing more of jobs until they are released; what runs continues", would: "would hold", do: (*client.Client).HoldJob,
		idle: func(j *api.Job) string { return onlyIf(j.Hold, "is on hold already") }})
}

func (a *app) jobRelease() *cli.Command {
	return a.jobVerb(jobVerb{name: "release", use: "let jobs that are on hold start again, in the place that they had", would: "would release", do: (*client.Client).ReleaseJob,
		idle: func(j *api.Job) string { return onlyIf(!j.Hold, "is not on hold") }})
}

func (a *app) jobRequeue() *cli.Command {
	return a.jobVerb(jobVerb{name: "requeue", use: "end what runs of jobs, and have it wait again in the place that it had", would: "would requeue", do: (*client.Client).RequeueJob,
		did: func(j *api.Job) string {
			return fmt.Sprintf("%s: what runs of it ends, and waits again in the place that it had", j.ID)
		}})
}

// jobVerb is something that is done to jobs.
type jobVerb struct {
	name, use, would string
	do               func(*client.Client, context.Context, string, bool) (*api.Job, error)
	idle             func(*api.Job) string // why nothing would change; "" = it would
	did              func(*api.Job) string // what the answer does not show, as it is only told
}

func onlyIf(is bool, text string) string {
	if is {
		return text
	}
	return ""
}

// jobVerb is a command that does one thing to jobs, once all of them are known.
func (a *app) jobVerb(v jobVerb) *cli.Command {
	return &cli.Command{
		Name: v.name, Usage: v.use, ArgsUsage: "JOB…", Description: example("mesita job "+v.name+" 57 58", "mesita job "+v.name+" 57 --dry-run"),
		Flags: option.ChangeFlags(),
		Action: func(c *cli.Context) error {
			if err := args(c, 1, -1, "job "+v.name+" JOB…"); err != nil {
				return err
			}
			if _, err := format(c); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			var was, is []*api.Job
			for _, id := range c.Args().Slice() {
				j, err := jobOf(c, cl, v.name, id)
				if err != nil {
					return err
				}
				was = append(was, j)
			}
			for _, old := range was {
				j, err := v.do(cl, c.Context, old.ID, c.Bool("dry-run"))
				if err != nil {
					return errors.Join(a.printJobs(c, is), err)
				}
				is = append(is, j)
				a.sayVerb(c, v, old, j)
			}
			if c.Bool("dry-run") && !c.IsSet("output") {
				return nil
			}
			return a.printJobs(c, is)
		},
	}
}

// sayVerb says what was done to a job, or would be, as far as its state does not.
func (a *app) sayVerb(c *cli.Context, v jobVerb, old, j *api.Job) {
	idle := ""
	if v.idle != nil {
		idle = v.idle(old)
	}
	switch {
	case c.Bool("quiet") && !c.Bool("dry-run"):
	case idle != "":
		a.progress("job %s %s: %s", j.ID, idle, jobCounts(j))
	case c.Bool("dry-run"):
		a.progress("%s job %s: %s", v.would, j.ID, jobCounts(j))
	case v.did != nil:
		a.progress("%s", v.did(j))
	}
}

// jobOf is a job that something is to be done to, which is nothing for a task alone.
func jobOf(c *cli.Context, cl *client.Client, verb, id string) (*api.Job, error) {
	j, err := cl.Job(c.Context, id)
	if api.ErrorCode(err) == api.CodeNotFound && strings.Contains(id, ".") {
		if t, err := cl.Task(c.Context, id); err == nil {
			return nil, usage("%s is a task: name its job, as in `mesita job %s %s`", id, verb, t.Job)
		}
	}
	return j, err
}

// printJobs is printJob of several, which JSON and YAML have as a list.
func (a *app) printJobs(c *cli.Context, jobs []*api.Job) error {
	f, err := format(c)
	if err != nil {
		return err
	}
	if len(jobs) > 1 && (f == "json" || f == "yaml") {
		return list(a.out, c, jobs, func(j *api.Job) string { return j.ID }, jobColumns)
	}
	for _, j := range jobs {
		if err := a.printJob(c, j); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) jobSet() *cli.Command {
	return &cli.Command{
		Name: "set", Usage: "have a job that waits ask for something else; it keeps its place in the queue", ArgsUsage: "JOB",
		Description: example("mesita job set 57 --time 20m", "mesita job set 57 --partition ml/train --cpus 2 --dry-run"),
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "time", Usage: "the most `TIME` one attempt may take; none"},
			&cli.StringFlag{Name: "priority", Usage: "`NUMBER` in a partition of the policy priority, -1000 to 1000; none: the usual one, 0"},
			&cli.StringFlag{Name: "partition", Usage: "`PARTITION` to wait in"},
			&cli.StringFlag{Name: "cpus", Usage: "`CORES` guaranteed to one task"},
			&cli.StringFlag{Name: "mem", Usage: "`BYTES` of memory guaranteed to one task"},
			&cli.StringFlag{Name: "mem-limit", Usage: "`BYTES` above which one is killed; none: those of --mem"},
			&cli.StringFlag{Name: "disk", Usage: "`BYTES` of disk of one task"},
			&cli.Int64Flag{Name: "gpus", Usage: "`NUMBER` of GPUs of one task"},
			&cli.StringSliceFlag{Name: "resource", Usage: "custom resource `K=V` of one task; may be repeated, and the others stay"},
		}, option.ChangeFlags()...),
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "job set JOB"); err != nil {
				return err
			}
			change, err := option.JobChange(c)
			if err != nil {
				return err
			}
			if change.IsZero() {
				return usage("mesita job set %s: what is to change? Give a flag such as --time 20m; see --help", c.Args().First())
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			known, err := jobOf(c, cl, "set", c.Args().First())
			if err != nil {
				return err
			}
			id := known.ID
			if !c.Bool("dry-run") {
				j, err := cl.SetJob(c.Context, id, change)
				if err != nil {
					return option.Named(err)
				}
				return a.printJob(c, j)
			}
			p, err := cl.PlanSetJob(c.Context, id, change)
			if err != nil {
				return option.Named(err)
			}
			return one(a.out, c, p, p.Job, func(w io.Writer) error { return printPlan(w, p) })
		},
	}
}

// jobState is the state of a job, and whether it is on hold: of one that has ended
// nothing would start anyway.
func jobState(j *api.Job) string {
	if j.Hold && !j.State.Ended() {
		return fmt.Sprintf("%s, on hold", j.State)
	}
	return j.State.String()
}
