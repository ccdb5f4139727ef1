package cli

import (
	"fmt"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) applyCommand() *cli.Command {
	return &cli.Command{
		Name: "apply", Usage: "make jobs be as a YAML file says", Description: example("mesita apply -f web.yaml", "mesita apply -f - --dry-run < jobs.yaml"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Required: true, Usage: "`FILE` of one or more documents, or - for standard input"},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done, and do nothing"},
			&cli.BoolFlag{Name: "no-upload", Usage: "do not upload local programs"},
			&cli.BoolFlag{Name: "detach", Usage: "do not wait"},
			spanFlag("timeout", 5*time.Minute, "the most `TIME` to wait for each service to run"),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print ids only"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT` of the result: table, json or yaml"},
		},
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "apply -f FILE"); err != nil {
				return err
			}
			specs, err := a.readSpecs(c.String("file"))
			if err != nil {
				return err
			}
			return a.apply(c, specs)
		},
	}
}

func (a *app) apply(c *cli.Context, specs []*api.JobSpec) error {
	cl, err := a.client(c)
	if err != nil {
		return err
	}
	jobs := make([]*api.Job, 0, len(specs))
	for _, s := range specs {
		if c.Bool("dry-run") {
			if err := a.plan(c, cl, s); err != nil {
				return err
			}
			continue
		}
		if s.Program == "" {
			if err := a.upload(c, cl, s); err != nil {
				return err
			}
		}
		j, err := cl.Apply(c.Context, s)
		if err != nil {
			return api.InField(s.Name, err)
		}
		jobs = append(jobs, j)
	}
	for _, j := range jobs { // all were told first: they start together
		after := a.afterRun
		if j.Spec.Kind != api.KindService {
			after = func(c *cli.Context, _ *client.Client, j *api.Job) error { return a.printJob(c, j) }
		}
		if err := after(c, cl, j); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "print jobs as YAML that apply takes", ArgsUsage: "[JOB…]", Description: example("mesita export web > web.yaml", "mesita export --all"),
		Flags: []cli.Flag{&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "all services"}},
		Action: func(c *cli.Context) error {
			if c.Bool("all") == (c.NArg() > 0) {
				return usage("mesita export JOB…, or mesita export --all")
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			var jobs []*api.Job
			for _, id := range c.Args().Slice() {
				j, err := cl.Job(c.Context, id)
				if err != nil {
					return err
				}
				jobs = append(jobs, j)
			}
			if c.Bool("all") {
				list, err := cl.Jobs(c.Context, false)
				if err != nil {
					return err
				}
				for _, j := range list {
					if j.Spec.Kind == api.KindService {
						jobs = append(jobs, j)
					}
				}
			}
			for i, j := range jobs {
				if i > 0 {
					fmt.Fprintln(a.out, "---")
				}
				if err := printSpec(a.out, j.Spec); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
