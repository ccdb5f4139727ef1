package cli

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/specfile"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

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
