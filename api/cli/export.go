package cli

import (
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/specfile"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "print jobs and partitions as YAML that apply takes", ArgsUsage: "[JOB…]",
		Description: example("mesita export web > web.yaml", "mesita export --partition ml --partition ml/train", "mesita export --all",
			"mesita export --all --with-programs there/ && mesita --addr https://10.0.1.1:5050 apply there/"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "all partitions and all services"},
			&cli.StringSliceFlag{Name: "partition", Usage: "this `PARTITION`; may be repeated"},
			&cli.StringFlag{Name: "with-programs", Usage: "write to a new `FOLDER`, with uploaded programs and files: for another cluster"},
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
			if len(docs) == 0 {
				return api.Errorf(api.CodeNotFound, "there is nothing to export: no service, and no partition that somebody made")
			}
			if folder := c.String("with-programs"); folder != "" {
				if err := (exportFolder{folder, cl}).write(c.Context, docs); err != nil {
					return err
				}
				a.progress("written to %s: mesita apply %[1]s makes it elsewhere", folder)
			} else if err := a.printExport(docs); err != nil {
				return err
			}
			if names := masked(docs); len(names) > 0 {
				a.progress("! the values of the environment of %s are not shown to you: %s stands for them, and apply refuses that", strings.Join(names, ", "), api.Masked)
			}
			return nil
		},
	}
}

func (a *app) printExport(docs []exportDoc) error {
	for i, d := range docs {
		if i > 0 {
			fmt.Fprintln(a.out, "---")
		}
		if err := specfile.PrintNoted(a.out, d.noun, d.head, d.notes); err != nil {
			return err
		}
	}
	return nil
}

// exportDoc is a job or a partition that is exported, and what is said of it.
type exportDoc struct {
	noun  any // *api.JobSpec or *api.Partition
	name  string
	head  string
	notes map[string]string // by field
}

// exportedJob says of what a job pins where it is from.
func exportedJob(j *api.Job) exportDoc {
	d := exportDoc{noun: j.Spec, name: j.ID, notes: map[string]string{}}
	const pinned = ", as it was uploaded; export --with-programs writes it"
	if j.Spec.Program != "" {
		d.notes["program"] = printable(j.Spec.Command[0]) + pinned
	}
	for name := range j.Spec.Files {
		d.notes["files."+name] = printable(path.Base(name)) + pinned
	}
	if len(d.notes) > 0 {
		d.head = fmt.Sprintf("version %d of %s", j.Version, j.Updated.UTC().Format(time.RFC3339))
	}
	return d
}

// masked are the jobs of which not all is shown.
func masked(docs []exportDoc) (names []string) {
	for _, d := range docs {
		if s, ok := d.noun.(*api.JobSpec); ok && slices.Contains(slices.Collect(maps.Values(s.Env)), api.Masked) {
			names = append(names, s.Name)
		}
	}
	return names
}

// exported is what export prints, in an order in which apply can make it.
func exported(c *cli.Context, cl *client.Client) ([]exportDoc, error) {
	var docs []exportDoc
	if c.Bool("all") {
		parts, err := cl.Partitions(c.Context)
		if err != nil {
			return nil, err
		}
		for _, p := range parts {
			if !asMade(p.Partition) {
				docs = append(docs, exportDoc{noun: p.Partition})
			}
		}
		jobs, err := cl.Jobs(c.Context, false)
		if err != nil {
			return nil, err
		}
		for _, j := range jobs {
			if j.Spec.Kind == api.KindService {
				docs = append(docs, exportedJob(j))
			}
		}
		return docs, nil
	}
	for _, path := range c.StringSlice("partition") {
		p, err := cl.Partition(c.Context, path)
		if err != nil {
			return nil, err
		}
		docs = append(docs, exportDoc{noun: p.Partition})
	}
	for _, id := range c.Args().Slice() {
		j, err := cl.Job(c.Context, id)
		if err != nil {
			return nil, err
		}
		if j.Framework != "" {
			return nil, api.Errorf(api.CodeConflict, "job %s is what framework %s runs, which alone decides about it: apply could not make it; leave it out", j.ID, j.Framework)
		}
		docs = append(docs, exportedJob(j))
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
