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

func (a *app) frameworkCommand() *cli.Command {
	return &cli.Command{
		Name: "framework", Usage: "programs that take offers of room, and decide what runs there",
		Description: example("mesita framework ls", "mesita framework show marathon", "mesita help frameworks"),
		Subcommands: []*cli.Command{a.frameworkLs(), a.frameworkShow(), a.frameworkRm()},
	}
}

func (a *app) frameworkLs() *cli.Command {
	return a.watched(&cli.Command{
		Name: "ls", Usage: "list frameworks", Description: example("mesita framework ls", "mesita framework ls --all -o wide"),
		Flags: readFlags(&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "also those that were removed, as far as they are remembered"}),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "framework ls"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			all, err := cl.Frameworks(c.Context, c.Bool("all"))
			if err != nil {
				return err
			}
			if f, err := format(c); len(all) == 0 && err == nil && (f == "table" || f == "wide") && !c.Bool("watch") {
				a.progress("no framework is registered that you may see: `mesita help frameworks` says how one is")
			}
			return list(a.out, c, all, func(f *api.FrameworkStatus) string { return f.ID }, frameworkColumns(cl.Now()))
		},
	})
}

// frameworkColumns end with the id, which is long, and of which a beginning is enough.
func frameworkColumns(now time.Time) []column[*api.FrameworkStatus] {
	return []column[*api.FrameworkStatus]{
		{"NAME", func(f *api.FrameworkStatus) string { return f.Name }, false},
		{"STATE", func(f *api.FrameworkStatus) string { return frameworkState(f, now) }, false},
		{"PARTITIONS", func(f *api.FrameworkStatus) string { return strings.Join(f.Partitions, ",") }, false},
		{"TASKS", func(f *api.FrameworkStatus) string { return fmt.Sprint(f.Counts.Live()) }, false},
		{"OFFERS", func(f *api.FrameworkStatus) string { return fmt.Sprint(f.Offers) }, false},
		{"OFFERED", func(f *api.FrameworkStatus) string { return brief(api.AmountsOf(f.Offered), 1) }, true},
		{"PRINCIPAL", func(f *api.FrameworkStatus) string { return f.Principal }, true},
		{"USER", func(f *api.FrameworkStatus) string { return f.User }, true},
		{"HOST", func(f *api.FrameworkStatus) string { return f.Host }, true},
		{"FAILOVER", func(f *api.FrameworkStatus) string { return spanText(time.Duration(f.Failover)) }, true},
		{"AGE", func(f *api.FrameworkStatus) string { return ageAt(f.Created, now) }, false},
		{"ID", func(f *api.FrameworkStatus) string { return f.ID }, false},
	}
}

// frameworkState says of one that is away when what it runs ends.
func frameworkState(f *api.FrameworkStatus, now time.Time) string {
	if f.State() != "away" {
		return f.State()
	}
	return "away, ends in " + spanText(max(0, f.Since.Add(time.Duration(f.Failover)).Sub(now)))
}

func (a *app) frameworkShow() *cli.Command {
	return a.watched(&cli.Command{
		Name: "show", Usage: "show a framework, and what it runs", ArgsUsage: "FRAMEWORK", Description: example("mesita framework show marathon", "mesita framework show 3f1c -o json"),
		Flags: readFlags(),
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "framework show FRAMEWORK"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			f, err := findFramework(c.Context, cl, c.Args().First())
			if err != nil {
				return err
			}
			if f, err = cl.Framework(c.Context, f.ID); err != nil { // with what it holds
				return err
			}
			tasks, err := cl.FindTasks(c.Context, client.TaskQuery{Framework: f.ID, Limit: shownTasks})
			if err != nil {
				return err
			}
			return one(a.out, c, f, f.ID, func(w io.Writer) error {
				return showFramework(w, f, tasks, taskColumns(c.Context, cl, tasks), cl.Now())
			})
		},
	})
}

// failoverText says for how long a framework's tasks run on without it.
func failoverText(f *api.FrameworkStatus) string {
	if f.Failover == 0 {
		return "none: its tasks end as soon as it is away"
	}
	return spanText(time.Duration(f.Failover)) + ", for which its tasks run on while it is away"
}

func showFramework(w io.Writer, f *api.FrameworkStatus, tasks []*api.Task, cols []column[*api.Task], now time.Time) error {
	fmt.Fprintf(w, "framework   %s   %s\n", printable(f.Name), frameworkState(f, now))
	for _, x := range []struct{ name, text string }{
		{"id", f.ID}, {"partitions", strings.Join(f.Partitions, ", ")}, {"principal", f.Principal}, {"runs as", f.User}, {"host", f.Host}, {"pages", f.URL},
		{"failover", failoverText(f)},
		{"tasks", countsText(f.Counts)}, {"holds", api.AmountsOf(f.Held).String()}, {"on offer", offeredText(f)},
		{"registered", ageAt(f.Created, now) + " ago by " + or(f.Actor, "-")}, {"removed", removedText(f, now)},
	} {
		if x.text != "" {
			fmt.Fprintf(w, "%-11s %s\n", x.name, printable(x.text))
		}
	}
	fmt.Fprintln(w)
	if err := tasksOf(w, tasks, cols, "it runs nothing"); err != nil {
		return err
	}
	if more := f.Counts.Live() - len(tasks); len(tasks) == shownTasks && more > 0 {
		_, err := fmt.Fprintf(w, "and %d more: mesita ps --framework %s\n", more, shellWord(f.ID))
		return err
	}
	return nil
}

func offeredText(f *api.FrameworkStatus) string {
	if f.Offers == 0 {
		return ""
	}
	return api.AmountsOf(f.Offered).String() + " in " + api.Count(f.Offers, "offer")
}

func removedText(f *api.FrameworkStatus, now time.Time) string {
	if f.Ended.IsZero() {
		return ""
	}
	return ageAt(f.Ended, now) + " ago: " + f.Reason
}

// findFramework finds a framework by its id, by its name, or by the unique beginning of
// its id. One that was removed is meant by a name only if no other has it.
func findFramework(ctx context.Context, cl *client.Client, ref string) (*api.FrameworkStatus, error) {
	all, err := cl.Frameworks(ctx, true)
	if err != nil {
		return nil, err
	}
	var live, ended, begins []*api.FrameworkStatus
	for _, f := range all {
		switch {
		case f.ID == ref:
			return f, nil
		case ref != "" && f.Name == ref && f.Ended.IsZero():
			live = append(live, f)
		case ref != "" && f.Name == ref:
			ended = append(ended, f)
		case api.BeginsID(f.ID, ref):
			begins = append(begins, f)
		}
	}
	for _, found := range [][]*api.FrameworkStatus{live, ended, begins} {
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return nil, api.Errorf(api.CodeNotFound, "%s are called, or begin with, %q: give a whole id; `mesita framework ls --all` lists them", api.Count(len(found), "framework"), ref)
		}
	}
	return nil, api.Errorf(api.CodeNotFound, "no framework %q: give a name, an id or the first %d or more of one; `mesita framework ls --all` lists them", ref, api.LeastOfID)
}

func (a *app) frameworkRm() *cli.Command {
	return &cli.Command{
		Name: "rm", Usage: "end a framework for good, with all that it runs", ArgsUsage: "FRAMEWORK", Description: example("mesita framework rm marathon", "mesita framework rm 3f1c --yes --detach"),
		Flags: []cli.Flag{
			option.DryRunFlag(),
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "answer yes: also if it is connected, or runs something"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print the id only"},
			&cli.BoolFlag{Name: "detach", Usage: "do not wait"},
			option.SpanFlag("timeout", 5*time.Minute, "the most `TIME` to wait"),
		},
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "framework rm FRAMEWORK"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			f, err := findFramework(c.Context, cl, c.Args().First())
			if err != nil {
				return err
			}
			return a.removeFramework(c, cl, f)
		},
	}
}

func (a *app) removeFramework(c *cli.Context, cl *client.Client, f *api.FrameworkStatus) error {
	what := fmt.Sprintf("framework %s (%s), which is %s and runs %s", printable(f.Name), printable(f.ID), f.State(), or(countText(f.Counts.Live()), "nothing"))
	switch {
	case c.Bool("dry-run"):
		a.progress("would end %s", what)
		return nil
	case c.Bool("yes") || !f.Connected && f.Counts.Live() == 0:
	case !isTerminal(a.in) || !isTerminal(a.err):
		return api.Errorf(api.CodeConflict, "this ends %s: say so with --yes", what)
	case !a.agreed(c.Context, "End %s, for good?", what):
		return exitError(1)
	}
	if err := cl.RemoveFramework(c.Context, f.ID); err != nil {
		return err
	}
	if !c.Bool("detach") {
		if err := a.awaitFrameworkEnd(c, cl, f.ID); err != nil || c.Context.Err() != nil {
			return err
		}
	}
	if c.Bool("quiet") {
		fmt.Fprintln(a.out, f.ID)
		return nil
	}
	_, err := fmt.Fprintf(a.out, "%s removed\n", printable(f.Name))
	return err
}

func countText(n int) string {
	if n == 0 {
		return ""
	}
	return api.Count(n, "task")
}

// awaitFrameworkEnd waits until all that a framework ran has ended.
func (a *app) awaitFrameworkEnd(c *cli.Context, cl *client.Client, id string) error {
	begin, left := time.Now(), -1
	for {
		f, err := cl.Framework(c.Context, id)
		switch {
		case c.Context.Err() != nil:
			a.progress("detached; what it runs still ends: see `mesita framework show %s`", shellWord(id))
			return nil
		case api.ErrorCode(err) == api.CodeNotFound, err == nil && f.Counts.Live() == 0:
			return nil
		case err != nil:
			return err
		case time.Since(begin) > option.Span(c, "timeout"):
			return api.Errorf(api.CodeTimeout, "framework %s still runs %s after %s, which were told to end: see `mesita framework show %s`", id, countText(f.Counts.Live()), option.Span(c, "timeout"), shellWord(id))
		case f.Counts.Live() != left:
			left = f.Counts.Live()
			a.progress("%s: %s left", printable(f.Name), countText(left))
		}
		select {
		case <-c.Context.Done():
		case <-time.After(lookPause):
		}
	}
}
