package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) stopCommand() *cli.Command {
	return &cli.Command{
		Name: "stop", Usage: "stop jobs, or some of their tasks", ArgsUsage: "JOB|TASK...", Description: example("mesita stop web", "mesita stop 57.12 57.14", "mesita stop web.0 --restart"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "detach", Usage: "do not wait"},
			&cli.BoolFlag{Name: "restart", Usage: "of a task: start it again, as its next attempt"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print ids only"},
			option.DryRunFlag(),
			option.SpanFlag("timeout", 5*time.Minute, "the most `TIME` to wait for each"),
		},
		Action: func(c *cli.Context) error {
			if err := args(c, 1, -1, "stop JOB|TASK..."); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			var all []toStop
			for _, id := range c.Args().Slice() { // all of them before any is stopped
				t, err := findToStop(c, cl, id)
				if err != nil {
					return err
				}
				all = append(all, t)
			}
			return a.stop(c, cl, all)
		},
	}
}

// toStop is a job, or one of its tasks.
type toStop struct {
	job  *api.Job
	task *api.Task
}

func findToStop(c *cli.Context, cl *client.Client, id string) (toStop, error) {
	t, err := findTask(c.Context, cl, id)
	switch {
	case err == nil && t.State.Final() && t.Reason == api.ReasonStopped && !c.Bool("restart"):
		return toStop{task: t}, nil // as a job that is stopped again
	case err == nil && t.State.Final() && c.Bool("restart"):
		return toStop{}, api.Errorf(api.CodeConflict, "task %s has ended, and no attempt follows: submit its job again, or leave it out", t.ID)
	case err == nil && t.State.Final(): // the cluster would refuse it when others were told already
		return toStop{}, api.Errorf(api.CodeNotFound, "task %s has ended: leave it out", id)
	case err == nil || api.ErrorCode(err) != api.CodeNotFound || strings.Contains(id, "/"):
		return toStop{task: t}, err
	}
	j, err := cl.Job(c.Context, id)
	switch {
	case err != nil:
		return toStop{}, noJobOrTask(id, err)
	case c.Bool("restart"):
		return toStop{}, api.FieldErrorf("restart", "%s is a job: name its tasks, as in %s", id, api.TaskID(id, 0))
	}
	return toStop{job: j}, nil
}

// stop tells all of them, then waits for each.
func (a *app) stop(c *cli.Context, cl *client.Client, all []toStop) error {
	for _, x := range all {
		var err error
		switch {
		case c.Bool("dry-run") && c.Bool("restart"):
			err = a.wouldRestart(c, cl, x.task)
		case c.Bool("dry-run") && x.task != nil:
			a.progress("would stop task %s%s", x.task.ID, whereTo(x.task))
		case c.Bool("dry-run"):
			a.progress("would stop job %s: %s", x.job.ID, jobCounts(x.job))
		case x.task != nil && x.task.State.Final():
		case x.task != nil:
			err = cl.StopTask(c.Context, x.task.ID, c.Bool("restart"))
		default:
			_, err = cl.StopJob(c.Context, x.job.ID)
		}
		if err != nil {
			return err
		}
	}
	if c.Bool("dry-run") || c.Bool("detach") {
		return nil
	}
	for _, x := range all {
		wait := a.awaitJobEnd
		if x.task != nil {
			wait = a.awaitTaskEnd
		}
		if err := wait(c, cl, x); err != nil || c.Context.Err() != nil {
			return err
		}
	}
	return nil
}

// wouldRestart says what a restart would come to, or that it would be refused.
func (a *app) wouldRestart(c *cli.Context, cl *client.Client, t *api.Task) error {
	j, err := cl.Job(c.Context, t.Job)
	if err == nil && j.Hold {
		err = api.RestartOnHold(j.ID, t.ID)
	}
	if err == nil {
		a.progress("would restart task %s%s", t.ID, whereTo(t))
	}
	return err
}

// whereTo is where a task is stopped, for a line that continues.
func whereTo(t *api.Task) string {
	switch {
	case t.State.Final():
		return ", which has ended"
	case t.Node == "":
		return ", which is not started"
	}
	return " on " + t.Node
}

func (a *app) awaitTaskEnd(c *cli.Context, cl *client.Client, x toStop) error {
	t := x.task
	waited := !t.NotBefore.IsZero() // for its next attempt, which begins at once then
	said := "stopped"
	_, err := a.await(c, cl, t.Job, option.Span(c, "timeout"), func(*api.Job) bool {
		now, err := cl.Task(c.Context, t.ID)
		switch {
		case err == nil && now.Attempt == t.Attempt && now.State == api.TaskFinished:
			said = "finished before that"
		case c.Bool("restart"):
			said = "restarts"
		}
		return api.ErrorCode(err) == api.CodeNotFound || err == nil && (now.State.Final() || now.Attempt > t.Attempt || c.Bool("restart") && waited && now.NotBefore.IsZero())
	})
	if err == nil && c.Context.Err() == nil {
		a.printEnded(c, t.ID, said)
	}
	return err
}

func (a *app) awaitJobEnd(c *cli.Context, cl *client.Client, x toStop) error {
	j, err := a.await(c, cl, x.job.ID, option.Span(c, "timeout"), func(j *api.Job) bool { return j.State.Ended() })
	if err == nil && j != nil {
		a.printEnded(c, j.ID, j.State.String())
	}
	return err
}

// printEnded prints what became of a job or a task.
func (a *app) printEnded(c *cli.Context, id, how string) {
	if c.Bool("quiet") {
		fmt.Fprintln(a.out, id)
		return
	}
	fmt.Fprintf(a.out, "%s %s\n", id, how)
}
