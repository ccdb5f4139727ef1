package cli

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/cli/specfile"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) applyCommand() *cli.Command {
	return &cli.Command{
		Name: "apply", Usage: "make partitions and jobs be as a YAML file says", Description: example("mesita apply -f web.yaml", "mesita apply -f - --dry-run < jobs.yaml"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Required: true, Usage: "`FILE` of one or more documents, or - for standard input"},
			option.DryRunFlag(),
			&cli.BoolFlag{Name: "no-upload", Usage: "do not upload local programs"},
			&cli.BoolFlag{Name: "detach", Usage: "do not wait"},
			option.SpanFlag("timeout", 5*time.Minute, "the most `TIME` to wait for each service to run"),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print ids only"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT` of the result: table, json or yaml"},
		},
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "apply -f FILE"); err != nil {
				return err
			}
			docs, err := a.readDocs(c.String("file"))
			if err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			if c.Bool("dry-run") {
				return a.planDocs(c, cl, docs)
			}
			if err := a.applyPartitions(c, cl, docs.Partitions); err != nil {
				return err
			}
			return a.applyJobs(c, cl, docs.Jobs)
		},
	}
}

func (a *app) readDocs(path string) (*specfile.Docs, error) {
	var b []byte
	var err error
	if path == "-" {
		path = "stdin"
		b, err = option.ReadFrom(a.in, "file", path, specfile.MaxSize)
	} else {
		b, err = option.ReadFile("file", path, specfile.MaxSize)
	}
	if err != nil {
		return nil, err
	}
	return specfile.Parse(path, b)
}

// applyPartitions makes the partitions be as told. A guarantee may have to
// shrink before another one fits, and a parent to be there before its child:
// what is refused is tried again for as long as others succeed.
func (a *app) applyPartitions(c *cli.Context, cl *client.Client, left []*api.Partition) error {
	for len(left) > 0 {
		var refused []*api.Partition
		var first error
		for _, p := range left {
			old, err := cl.Partition(c.Context, p.Path)
			if api.ErrorCode(err) == api.CodeNotFound {
				old, err = &api.PartitionStatus{}, nil
			}
			if err != nil {
				return api.InField(p.Path, err)
			}
			change, err := cl.PutPartition(c.Context, p, false)
			switch api.ErrorCode(err) {
			case "":
				if err := a.printChange(c, change, option.Differences(old.Partition, change.Partition)); err != nil {
					return err
				}
				continue
			case api.CodeInvalid, api.CodeDoesNotFit, api.CodeNotFound, api.CodeConflict:
				refused = append(refused, p)
				if first == nil {
					first = api.InField(p.Path, err)
				}
			default:
				return api.InField(p.Path, err)
			}
		}
		if len(refused) == len(left) {
			return first
		}
		left = refused
	}
	return nil
}

// planDocs says what apply would do. What depends on a partition that the file
// only makes is not known to the cluster yet.
func (a *app) planDocs(c *cli.Context, cl *client.Client, docs *specfile.Docs) error {
	made, was := map[string]bool{}, map[string]*api.Partition{}
	for _, p := range docs.Partitions {
		old, err := cl.Partition(c.Context, p.Path)
		switch {
		case err == nil:
			was[p.Path] = old.Partition
		case api.ErrorCode(err) == api.CodeNotFound:
			made[p.Path] = true
		default:
			return api.InField(p.Path, err)
		}
	}
	for _, p := range docs.Partitions {
		change, err := cl.PlanPartition(c.Context, p, false)
		if made[p.Parent()] && api.ErrorCode(err) == api.CodeNotFound {
			full := *p
			full.Normalize()
			change, err = &api.PartitionChange{Partition: &full, Action: "create"}, nil
		}
		if err != nil {
			return api.InField(p.Path, err)
		}
		if err := a.printChange(c, change, option.Differences(was[p.Path], change.Partition)); err != nil {
			return err
		}
	}
	for _, s := range docs.Jobs {
		if made[s.Partition] {
			a.progress("job %s would be made in partition %s, which this file makes: where it goes is not known before", s.Name, s.Partition)
			continue
		}
		if err := a.plan(c, cl, s); err != nil {
			return api.InField(s.Name, err)
		}
	}
	return nil
}

func (a *app) applyJobs(c *cli.Context, cl *client.Client, specs []*api.JobSpec) error {
	jobs := make([]*api.Job, 0, len(specs))
	for _, s := range specs {
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
		Name: "export", Usage: "print jobs and partitions as YAML that apply takes", ArgsUsage: "[JOB…]",
		Description: example("mesita export web > web.yaml", "mesita export --partition ml --partition ml/train", "mesita export --all"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "all partitions and all services"},
			&cli.StringSliceFlag{Name: "partition", Usage: "this `PARTITION`; may be repeated"},
		},
		Action: func(c *cli.Context) error {
			if c.Bool("all") == (c.NArg() > 0 || c.IsSet("partition")) {
				return usage("mesita export JOB…, mesita export --partition PATH, or mesita export --all")
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			docs, err := exported(c, cl)
			if err != nil {
				return err
			}
			for i, d := range docs {
				if i > 0 {
					fmt.Fprintln(a.out, "---")
				}
				if err := specfile.Print(a.out, d); err != nil {
					return err
				}
			}
			if names := masked(docs); len(names) > 0 {
				a.progress("! the values of the environment of %s are not shown to you: %s stands for them, and apply refuses that", strings.Join(names, ", "), api.Masked)
			}
			return nil
		},
	}
}

// masked are the jobs of which not all is shown.
func masked(docs []any) (names []string) {
	for _, d := range docs {
		if s, ok := d.(*api.JobSpec); ok && slices.Contains(slices.Collect(maps.Values(s.Env)), api.Masked) {
			names = append(names, s.Name)
		}
	}
	return names
}

// exported is what export prints, in an order in which apply can make it.
func exported(c *cli.Context, cl *client.Client) ([]any, error) {
	var docs []any
	if c.Bool("all") {
		parts, err := cl.Partitions(c.Context)
		if err != nil {
			return nil, err
		}
		for _, p := range parts {
			if !asMade(p.Partition) {
				docs = append(docs, p.Partition)
			}
		}
		jobs, err := cl.Jobs(c.Context, false)
		if err != nil {
			return nil, err
		}
		for _, j := range jobs {
			if j.Spec.Kind == api.KindService {
				docs = append(docs, j.Spec)
			}
		}
		return docs, nil
	}
	for _, path := range c.StringSlice("partition") {
		p, err := cl.Partition(c.Context, path)
		if err != nil {
			return nil, err
		}
		docs = append(docs, p.Partition)
	}
	for _, id := range c.Args().Slice() {
		j, err := cl.Job(c.Context, id)
		if err != nil {
			return nil, err
		}
		docs = append(docs, j.Spec)
	}
	return docs, nil
}

// asMade reports whether p is the partition that every cluster has, unchanged.
func asMade(p *api.Partition) bool {
	if p.Path != api.DefaultPartition {
		return false
	}
	plain := api.Partition{Path: p.Path}
	plain.Normalize()
	return reflect.DeepEqual(&plain, p.Asked())
}
