package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) jobHold() *cli.Command {
	return a.jobVerb("hold", "start nothing more of jobs until they are released; what runs goes on", "would hold", (*client.Client).HoldJob)
}

func (a *app) jobRelease() *cli.Command {
	return a.jobVerb("release", "let jobs that are on hold start again, in the place that they had", "would release", (*client.Client).ReleaseJob)
}

func (a *app) jobRequeue() *cli.Command {
	return a.jobVerb("requeue", "end what runs of jobs, and have it wait again in the place that it had", "would requeue", (*client.Client).RequeueJob)
}

// jobVerb is a command that does one thing to jobs.
func (a *app) jobVerb(name, use, would string, do func(*client.Client, context.Context, string, bool) (*api.Job, error)) *cli.Command {
	return &cli.Command{
		Name: name, Usage: use, ArgsUsage: "JOB…", Description: example("mesita job "+name+" 57 58", "mesita job "+name+" 57 --dry-run"),
		Flags: option.ChangeFlags(),
		Action: func(c *cli.Context) error {
			if err := args(c, 1, -1, "job "+name+" JOB…"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			for _, id := range c.Args().Slice() {
				j, err := do(cl, c.Context, id, c.Bool("dry-run"))
				if err != nil {
					return err
				}
				if c.Bool("dry-run") {
					a.progress("%s job %s: %s", would, j.ID, jobCounts(j))
				}
				if c.Bool("dry-run") && !c.IsSet("output") {
					continue
				}
				if err := a.printJob(c, j); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (a *app) jobSet() *cli.Command {
	return &cli.Command{
		Name: "set", Usage: "have a job that waits ask for something else; it keeps its place in the queue", ArgsUsage: "JOB",
		Description: example("mesita job set 57 --time 20m", "mesita job set 57 --partition ml/train --cpus 2 --dry-run"),
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "time", Usage: "the most `TIME` one attempt may take; none"},
			&cli.IntFlag{Name: "priority", Usage: "`NUMBER` in a partition of the policy priority, -1000 to 1000"},
			&cli.StringFlag{Name: "partition", Usage: "`PATH` of the partition to wait in"},
			&cli.StringFlag{Name: "cpus", Usage: "`CORES` guaranteed to one task"},
			&cli.StringFlag{Name: "mem", Usage: "`BYTES` of memory guaranteed to one task"},
		}, option.ChangeFlags()...),
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "job set JOB"); err != nil {
				return err
			}
			change, err := option.JobChange(c)
			if err != nil {
				return err
			}
			if change == (api.JobChange{}) {
				return usage("mesita job set %s: what is to change? Give a flag such as --time 20m; see --help", c.Args().First())
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			id := c.Args().First()
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

// jobState is the state of a job, and whether it is on hold.
func jobState(j *api.Job) string {
	if j.Hold {
		return fmt.Sprintf("%s, on hold", j.State)
	}
	return j.State.String()
}
