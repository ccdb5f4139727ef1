package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func number(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func portsText(t *api.Task) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(t.Ports)) {
		out = append(out, fmt.Sprintf("%s=%d", k, t.Ports[k]))
	}
	return strings.Join(out, ",")
}

func exitText(t *api.Task) string {
	switch {
	case t.Signal != "":
		return t.Signal
	case t.ExitCode != nil:
		return fmt.Sprint(*t.ExitCode)
	}
	return ""
}

func reasonText(t *api.Task) string {
	if t.State == api.TaskRunning && t.Desired == api.DesiredRun {
		return ""
	}
	if t.Leaving() {
		return string(t.Reason) + " in " + until(*t.Leaves)
	}
	return string(t.Reason)
}

// until is how long it is until then, in seconds.
func until(at time.Time) string {
	return max(0, time.Until(at)).Round(time.Second).String()
}

func (a *app) showCommand() *cli.Command {
	return a.watched(&cli.Command{
		Name: "show", Usage: "show a job or a task; of a framework also by its own id of the task", ArgsUsage: "JOB|TASK",
		Description: example("mesita show web", "mesita show web.1 -o json", "mesita show marathon/app-1"),
		Flags:       readFlags(),
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "show JOB|TASK"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			id := c.Args().First()
			t, err := findTask(c.Context, cl, id)
			if err == nil {
				return one(a.out, c, t, t.ID, func(w io.Writer) error { return showTask(w, t, liveStats(c.Context, cl, t)) })
			}
			if api.ErrorCode(err) != api.CodeNotFound || strings.Contains(id, "/") {
				return err
			}
			j, err := cl.Job(c.Context, id)
			if err != nil {
				return noJobOrTask(id, err)
			}
			tasks, err := cl.FindTasks(c.Context, client.TaskQuery{Job: id, All: true, Limit: shownTasks})
			if err != nil {
				return err
			}
			return one(a.out, c, j, j.ID, func(w io.Writer) error { return showJob(w, j, tasks, taskColumns(c.Context, cl, tasks)) })
		},
	})
}

// findTask finds a task or an executor by its id, or as FRAMEWORK/ID by that which its
// framework gave it.
func findTask(ctx context.Context, cl *client.Client, id string) (*api.Task, error) {
	framework, own, of := strings.Cut(id, "/")
	if !of {
		return cl.Task(ctx, id)
	}
	f, err := findFramework(ctx, cl, framework)
	if err != nil {
		return nil, err
	}
	found, err := cl.FindTasks(ctx, client.TaskQuery{Framework: f.ID, Own: own, All: true})
	if err == nil && len(found) == 0 {
		err = api.Errorf(api.CodeNotFound, "framework %s has no task %q: `mesita ps --all --framework %s` lists them", f.Name, own, shellWord(f.ID))
	}
	if err != nil {
		return nil, err
	}
	if len(found) > 1 {
		return nil, api.Errorf(api.CodeConflict, "framework %s has %d executors %q: name one by its id here, as in %s on %s", f.Name, len(found), own, found[0].ID, found[0].Node)
	}
	return found[0], nil
}

// idHere is the id of the task that is named FRAMEWORK/ID; what is named otherwise is as it is.
func idHere(ctx context.Context, cl *client.Client, id string) (string, error) {
	if !strings.Contains(id, "/") {
		return id, nil
	}
	t, err := findTask(ctx, cl, id)
	if err != nil {
		return "", err
	}
	return t.ID, nil
}

func noJobOrTask(id string, err error) error {
	if api.ErrorCode(err) == api.CodeNotFound {
		return api.Errorf(api.CodeNotFound, "no job or task %q: `mesita ps --all` lists them", id)
	}
	return err
}

// shownTasks is how many tasks of a job are shown with it.
const shownTasks = 50

func showJob(w io.Writer, j *api.Job, tasks []*api.Task, cols []column[*api.Task]) error {
	fmt.Fprintf(w, "job        %s   %s v%d, %s\n", j.ID, j.Spec.Kind, j.Version, paint(w, jobState(j)))
	fmt.Fprintf(w, "tasks      %s\n", jobCounts(j))
	if j.Framework != "" {
		return showFrameworkJob(w, j, tasks, cols)
	}
	fmt.Fprintf(w, "command    %s\n", commandText(j.Spec.Command))
	fmt.Fprintf(w, "each       %s\n", j.Spec.Need())
	for _, p := range j.Spec.Ports {
		fmt.Fprintf(w, "port       %s %s\n", p.Name, or(number(p.Port), "(any free one)"))
	}
	for _, f := range []struct{ name, text string }{
		{"partition", j.Spec.Partition}, {"runs as", j.Spec.RunsAs()}, {"priority", number(j.Spec.Priority)}, {"gang", number(j.Spec.Gang)}, {"only where", joined(j.Spec.Constraints)},
		{"prefers", joined(j.Spec.Prefer)}, {"affinity", joined(j.Spec.Affinity)}, {"cpu limit", cpuText(api.MilliCPU(j.Spec.CPULimit))}, {"spread", j.Spec.Spread}, {"labels", labelsText(j)}, {"files", filesText(j.Spec.Files)},
		{"process", processText(&j.Spec.TaskSpec)}, {"ends", endsText(j.Spec)}, {"defaults", filledText(j.Filled)},
	} {
		if f.text != "" {
			fmt.Fprintf(w, "%-10s %s\n", f.name, f.text)
		}
	}
	showEnv(w, j.Spec.Env)
	return showTasks(w, j, tasks, cols)
}

// showFrameworkJob leaves out what each task of a framework has for itself.
func showFrameworkJob(w io.Writer, j *api.Job, tasks []*api.Task, cols []column[*api.Task]) error {
	fmt.Fprintf(w, "framework  %s\n", printable(j.Framework))
	fmt.Fprintf(w, "name       %s\n", j.Spec.Name)
	fmt.Fprintf(w, "partition  %s\n", j.Spec.Partition)
	return showTasks(w, j, tasks, cols)
}

// tasksOf are the tasks of something that is shown, or that there are none.
func tasksOf(w io.Writer, tasks []*api.Task, cols []column[*api.Task], none string) error {
	if len(tasks) == 0 {
		_, err := fmt.Fprintln(w, none)
		return err
	}
	return table(w, tasks, cols, false, true)
}

func showTasks(w io.Writer, j *api.Job, tasks []*api.Task, cols []column[*api.Task]) error {
	fmt.Fprintf(w, "submitted  %s ago by %s\n\n", age(j.Created), or(j.Actor, "-"))
	if err := tasksOf(w, tasks, cols, "it has no tasks"); err != nil {
		return err
	}
	if more := j.Counts.Total() - len(tasks); len(tasks) == shownTasks && more > 0 {
		_, err := fmt.Fprintf(w, "and %d more: mesita ps %s --all\n", more, j.ID)
		return err
	}
	return nil
}

// filesText are the names of a task's files, with the beginning of their digests.
func filesText(files map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(out, fmt.Sprintf("%s (%.19s)", printable(name), files[name]))
	}
	return strings.Join(out, ", ")
}

// showEnv writes an environment so that it can be pasted; what the reader may not see is
// as the cluster masks it.
func showEnv(w io.Writer, env map[string]string) {
	name := "env"
	for _, k := range slices.Sorted(maps.Keys(env)) {
		text := shellWord(k + "=" + env[k])
		if env[k] == api.Masked {
			text = k + "=" + api.Masked
		}
		fmt.Fprintf(w, "%-10s %s\n", name, text)
		name = ""
	}
}

// filledText is what of a spec its user left out, and the partition named.
func filledText(all []api.Filled) string {
	var out []string
	for _, f := range all {
		out = append(out, f.Field+" of partition "+f.Partition)
	}
	return strings.Join(out, ", ")
}

// processText is what was asked for of a process, beyond its defaults.
func processText(s *api.TaskSpec) string {
	var out []string
	add := func(name, text string) {
		if text != "" {
			out = append(out, name+" "+printable(text))
		}
	}
	add("in", s.Dir)
	add("nice", number(s.Nice))
	for _, u := range s.Ulimits {
		add("ulimit", u.String())
	}
	if s.Pids != api.DefaultPids {
		add("pids", number(int(s.Pids)))
	}
	if s.Privileged {
		out = append(out, "privileged")
	}
	add("unconfined", strings.Join(s.Unconfined, " "))
	if s.HostPIDs {
		out = append(out, "sees the node's processes")
	}
	return strings.Join(out, ", ")
}

// endsText is how attempts end and what follows, where it is not the default.
func endsText(s *api.JobSpec) string {
	var out []string
	if s.Time > 0 {
		out = append(out, "after "+s.Time.String()+" at most")
	}
	if s.Retries > 0 {
		out = append(out, "tried again "+api.Count(s.Retries, "time"))
	}
	if s.Restart.Attempts > 0 {
		out = append(out, "gives up after "+api.Count(s.Restart.Attempts, "failure")+" in a row")
	}
	if s.AtMostOnce {
		out = append(out, "at most once")
	}
	if s.StopSignal != "SIGTERM" || s.StopGrace != api.DefaultStopGrace {
		out = append(out, fmt.Sprintf("stopped by %s, killed %s later", s.StopSignal, s.StopGrace))
	}
	if s.NoticeSignal != "" {
		out = append(out, "told by "+s.NoticeSignal+" before it is preempted")
	}
	return strings.Join(out, ", ")
}

func cpuText(c api.MilliCPU) string {
	if c == 0 {
		return ""
	}
	return c.String()
}

func labelsText(j *api.Job) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(j.Spec.Labels)) {
		out = append(out, printable(k+"="+j.Spec.Labels[k]))
	}
	return strings.Join(out, ",")
}

// liveStats is what the node of a running task says of it now; nil: nothing.
func liveStats(ctx context.Context, cl *client.Client, t *api.Task) *api.TaskStats {
	if t.State != api.TaskRunning {
		return nil
	}
	stats, _, _ := cl.Stats(ctx, t.Node, api.StatsAll) // one that does not answer is shown all the same
	for i := range stats {
		if stats[i].Task == t.ID {
			return &stats[i]
		}
	}
	return nil
}

func showTask(w io.Writer, t *api.Task, now *api.TaskStats) error {
	fmt.Fprintf(w, "task       %s   %s\n", t.ID, paint(w, stateText(t)))
	showOwn(w, t.Framework)
	fmt.Fprintf(w, "node       %s   pid %s   ports %s\n", or(t.Node, "-"), or(number(t.PID), "-"), or(portsText(t), "-"))
	fmt.Fprintf(w, "holds      %s\n", t.Resources)
	if now != nil && now.OwnCPUs != "" {
		fmt.Fprintf(w, "own cpus   %s\n", printable(now.OwnCPUs))
	}
	if now != nil && now.HeldUp() != "" {
		fmt.Fprintf(w, "held up    %s\n", now.HeldUp())
	}
	if t.Leaving() {
		fmt.Fprintf(w, "leaves     in %s, when it gets its stop signal\n", until(*t.Leaves))
	}
	if t.Message != "" || t.Reason != "" {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("why        %s   %s", or(string(t.Reason), "-"), printable(t.Message)), " "))
	}
	fmt.Fprintln(w)
	newest := api.Attempt{Attempt: t.Attempt, Version: t.Version, Node: t.Node, State: t.State, PID: t.PID,
		Started: t.Started, Ended: t.Ended, ExitCode: t.ExitCode, Signal: t.Signal, Reason: t.Reason, Message: t.Message}
	if t.State == api.TaskStaging { // nothing came of it yet: the task's reason is why the one before ended
		newest.Reason, newest.Message = "", ""
	}
	state := func(x api.Attempt) string {
		if x.Attempt == t.Attempt {
			return stateText(t)
		}
		return x.State.Word()
	}
	attempts := append(slices.Clone(t.Earlier), newest)
	return table(w, attempts, []column[api.Attempt]{
		{"ATTEMPT", func(x api.Attempt) string { return fmt.Sprint(x.Attempt) }, false},
		{"STATE", state, false},
		{"NODE", func(x api.Attempt) string { return x.Node }, false},
		{"PID", func(x api.Attempt) string { return number(x.PID) }, false},
		{"EXIT", func(x api.Attempt) string { return exitText(&api.Task{Signal: x.Signal, ExitCode: x.ExitCode}) }, false},
		{"REASON", func(x api.Attempt) string { return string(x.Reason) }, false},
		{"STARTED", func(x api.Attempt) string { return age(x.Started) }, false},
		{"ENDED", func(x api.Attempt) string { return age(x.Ended) }, false},
		{"MESSAGE", func(x api.Attempt) string { return x.Message }, false},
	}, false, true)
}

// showOwn is what a task of a framework has that others have of their job.
func showOwn(w io.Writer, own *api.FrameworkTask) {
	if own == nil {
		return
	}
	fmt.Fprintf(w, "framework  %s\n", printable(own.Framework))
	hosted := own.Executor != "" && !own.IsExecutor
	switch id := fmt.Sprintf("its id     %s   %s", printable(own.ID), printable(own.Name)); {
	case own.IsExecutor:
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("executor   %s   %s", printable(own.Executor), printable(own.Name)), " "))
	case hosted:
		fmt.Fprintln(w, strings.TrimRight(id, " "))
		fmt.Fprintf(w, "runs in    executor %s, whose logs and processes are its\n", printable(own.Executor))
	default:
		fmt.Fprintln(w, strings.TrimRight(id, " "))
	}
	if s := own.Spec; s != nil && !hosted {
		fmt.Fprintf(w, "command    %s\n", commandText(s.Command))
		fmt.Fprintf(w, "runs as    %s\n", s.RunsAs())
		if text := processText(&s.TaskSpec); text != "" {
			fmt.Fprintf(w, "process    %s\n", text)
		}
		showEnv(w, s.Env)
	}
}

func (a *app) scaleCommand() *cli.Command {
	return &cli.Command{
		Name: "scale", Usage: "change how many tasks a service keeps running", ArgsUsage: "JOB NUMBER", Description: example("mesita scale web 5"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "detach", Usage: "do not wait"},
			option.DryRunFlag(),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print the id only"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT` of the result: table, json or yaml"},
			option.SpanFlag("timeout", 5*time.Minute, "the most `TIME` to wait"),
		},
		Action: func(c *cli.Context) error {
			if err := args(c, 2, 2, "scale JOB NUMBER"); err != nil {
				return err
			}
			n, err := strconv.Atoi(c.Args().Get(1))
			if err != nil || n < 0 {
				return api.FieldErrorf("count", "%q is not a number of tasks: give 0 or more", c.Args().Get(1))
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			if c.Bool("dry-run") {
				j, err := cl.Job(c.Context, c.Args().First())
				if err != nil {
					return err
				}
				a.progress("would scale %s from %d to %d", j.ID, j.Spec.Tasks(), n)
				return nil
			}
			j, err := cl.Scale(c.Context, c.Args().First(), n)
			if err != nil || c.Bool("detach") {
				return err
			}
			if err := startsNothing(j); err != nil {
				return err
			}
			got, err := a.await(c, cl, j.ID, option.Span(c, "timeout"), lasting(settleFor, func(j *api.Job) bool {
				return j.Counts.Running == n && j.Counts.Total() == n
			}))
			if err != nil || got == nil {
				return err
			}
			return a.printJob(c, got)
		},
	}
}
