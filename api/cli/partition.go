package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) partitionCommand() *cli.Command {
	return &cli.Command{
		Name: "partition", Usage: "shares of the cluster, in a tree",
		Description: example("mesita partition create ml --guarantee cpus=4,mem=8GiB --weight 2 --policy fair", "mesita partition ls"),
		Subcommands: []*cli.Command{a.partitionCreate(), a.partitionSet(), a.partitionLs(), a.partitionShow(), a.partitionRm()},
	}
}

func (a *app) partitionCreate() *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "make a partition", ArgsUsage: "PATH",
		Description: example("mesita partition create ml --guarantee cpus=4,mem=8GiB --limit cpus=10 --weight 2 --policy fair",
			"mesita partition create ml/train --nodes gpu=yes --preempt freeze --user ci"),
		Flags: option.PartitionFlags(),
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "partition create PATH"); err != nil {
				return err
			}
			p := &api.Partition{Path: c.Args().First()}
			return a.putPartition(c, p, nil)
		},
	}
}

func (a *app) partitionSet() *cli.Command {
	return &cli.Command{
		Name: "set", Usage: "change a partition while it works; only the flags that are given", ArgsUsage: "PARTITION",
		Description: example("mesita partition set ml --weight 3", "mesita partition set ml --limit none --dry-run",
			"mesita partition set web --adjust-max cpus=8 --hours 'mon-fri 08:00-18:00 Europe/Berlin cpus=8'"),
		Flags: option.PartitionFlags(),
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "partition set PARTITION"); err != nil {
				return err
			}
			if !option.AnySet(c) {
				return usage("mesita partition set %s: what is to change? Give a flag such as --weight 2; see --help", c.Args().First())
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			old, err := cl.Partition(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			p := *old.Partition
			return a.putPartition(c, &p, old.Partition)
		},
	}
}

// putPartition changes p by the flags, and the cluster by p. Without old it
// makes a new one.
func (a *app) putPartition(c *cli.Context, p, old *api.Partition) error {
	if err := option.FillPartition(c, p); err != nil {
		return err
	}
	p.Normalize()
	check := *p
	check.Nodes = api.MarkVersions(p.Nodes, nil, true)
	err := check.Validate()
	if err == nil {
		err = p.CheckZones()
	}
	if err != nil {
		return option.InFlag("", err)
	}
	cl, err := a.client(c)
	if err != nil {
		return err
	}
	change := cl.PutPartition
	if c.Bool("dry-run") {
		change = cl.PlanPartition
	}
	got, err := change(c.Context, p, old == nil)
	if err != nil {
		return option.Named(err)
	}
	return a.printChange(c, got, option.Differences(old, p))
}

// printChange says what became of a partition, or would: the result on
// standard output, warnings on standard error.
func (a *app) printChange(c *cli.Context, change *api.PartitionChange, what []string) error {
	path := ""
	if change.Partition != nil {
		path = change.Partition.Path
	}
	err := one(a.out, c, change, path, func(w io.Writer) error {
		head, done := "", map[string]string{"create": "created", "update": "changed", "remove": "removed"}
		verb := or(done[change.Action], "unchanged")
		if c.Bool("dry-run") {
			head, verb = "plan  ", change.Action
		} else if change.Action == "remove" && change.Partition != nil && change.Partition.Drain {
			verb = "takes no new work, and goes when it is empty"
		}
		_, err := fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%s%s %s   %s", head, path, verb, strings.Join(what, ", ")), " "))
		for _, t := range change.Reclaimed {
			fmt.Fprintf(w, "  preempted  %s\n", t)
		}
		if change.Starts > 0 {
			fmt.Fprintf(w, "  starts     %s that wait now\n", api.Count(change.Starts, "task"))
		}
		return err
	})
	for _, x := range change.Warnings {
		a.progress("! %s", x)
	}
	return err
}

const sharingHelp = `With -o wide, how the sharing came out lately, up to a day:
  IDLE  the part of the cluster that is free and kept for its first in line: now, and in the mean
  LATE  how many of its first in line started later than they were promised, of how many were promised a start
  OFF   how far its share was above or below its fair one, in the mean, while something of it waited for room
`

func (a *app) partitionLs() *cli.Command {
	return a.watched(&cli.Command{
		Name: "ls", Usage: "list partitions and what they hold", Description: sharingHelp + example("mesita partition ls", "mesita partition ls -o wide", "mesita partition ls -w"),
		Flags: readFlags(),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "partition ls"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			all, err := cl.Partitions(c.Context)
			if err != nil {
				return err
			}
			return list(a.out, c, all, func(p *api.PartitionStatus) string { return p.Path }, telling(all))
		},
	})
}

func (a *app) partitionShow() *cli.Command {
	return a.watched(&cli.Command{
		Name: "show", Usage: "show a partition with its settings", ArgsUsage: "PARTITION", Description: example("mesita partition show ml/train", "mesita partition show ml -o yaml"),
		Flags: readFlags(),
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "partition show PARTITION"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			p, err := cl.Partition(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			return one(a.out, c, p, p.Path, func(w io.Writer) error { return showPartition(w, p) })
		},
	})
}

func (a *app) partitionRm() *cli.Command {
	return &cli.Command{
		Name: "rm", Usage: "remove a partition", ArgsUsage: "PARTITION", Description: example("mesita partition rm ml/train", "mesita partition rm ml --drain --timeout 1h"),
		Flags: append(option.ChangeFlags(),
			&cli.BoolFlag{Name: "drain", Usage: "even with work in it: services stop, batch jobs may finish, then it is removed"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "answer yes: drain it if there is work in it"},
			&cli.BoolFlag{Name: "detach", Usage: "do not wait"},
			option.SpanFlag("timeout", 0, "the most `TIME` to wait (default: no limit)"),
		),
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "partition rm PARTITION"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			return a.removePartition(c, cl, c.Args().First())
		},
	}
}

func (a *app) removePartition(c *cli.Context, cl *client.Client, path string) error {
	p, err := cl.Partition(c.Context, path)
	if err != nil {
		return err
	}
	drain := c.Bool("drain") || c.Bool("yes")
	if c.Bool("dry-run") {
		change, err := cl.PlanRemovePartition(c.Context, path, drain)
		if err != nil {
			return err
		}
		return a.printChange(c, change, []string{workText(p)})
	}
	if n := workLeft(p); n > 0 && !drain && isTerminal(a.in) && isTerminal(a.err) {
		if drain = a.agreed(c.Context, "%s holds %s: let them end first, and stop its services?", path, api.Count(n, "task")); !drain {
			return exitError(1)
		}
	}
	change, err := cl.RemovePartition(c.Context, path, drain)
	if err != nil {
		return err
	}
	if change.Partition == nil || !change.Partition.Drain || c.Bool("detach") {
		return a.printChange(c, change, nil)
	}
	return a.awaitGone(c, cl, path)
}

// agreed asks a person. The read of a terminal cannot be cut off: it ends with
// the process.
func (a *app) agreed(ctx context.Context, format string, args ...any) bool {
	fmt.Fprintf(a.err, format+" [y/N] ", args...)
	answers := make(chan string, 1)
	go func() {
		var answer string
		_, _ = fmt.Fscanln(a.in, &answer) // no answer is no
		answers <- answer
	}()
	select {
	case <-ctx.Done():
		return false
	case answer := <-answers:
		return strings.HasPrefix(strings.ToLower(answer), "y")
	}
}

// awaitGone waits until a partition that is being removed is gone.
func (a *app) awaitGone(c *cli.Context, cl *client.Client, path string) error {
	begin, left := time.Now(), -1
	for {
		p, err := cl.Partition(c.Context, path)
		switch {
		case c.Context.Err() != nil:
			a.progress("detached; the removal of %s continues: see `mesita partition show %s`", path, path)
			return nil
		case api.ErrorCode(err) == api.CodeNotFound:
			fmt.Fprintf(a.out, "%s removed\n", path)
			return nil
		case err != nil:
			return err
		case !p.Drain:
			return api.Errorf(api.CodeConflict, "partition %s was made again meanwhile: see `mesita partition show %s`", path, path)
		case option.Span(c, "timeout") > 0 && time.Since(begin) > option.Span(c, "timeout"):
			return api.Errorf(api.CodeTimeout, "%s still holds %s after %s; its removal continues: see `mesita partition show %s`", path, workText(p), option.Span(c, "timeout"), path)
		case workLeft(p) != left:
			left = workLeft(p)
			a.progress("%s: %s left", path, api.Count(left, "task"))
		}
		select {
		case <-c.Context.Done():
		case <-time.After(lookPause):
		}
	}
}

func workLeft(p *api.PartitionStatus) int { return p.Pending + p.Starting + p.Running }

func workText(p *api.PartitionStatus) string {
	if n := workLeft(p); n > 0 {
		return api.Count(n, "task")
	}
	return "no work"
}
