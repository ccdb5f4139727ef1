package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

func (a *app) execCommand() *cli.Command {
	return &cli.Command{
		Name: "exec", Usage: "run a command beside a running task", ArgsUsage: "JOB|TASK -- COMMAND [ARG…]", Description: example("mesita exec web.1 -- sh", "mesita exec web -- cat /etc/hostname"),
		Flags: []cli.Flag{&cli.BoolFlag{Name: "no-tty", Aliases: []string{"T"}, Usage: "no terminal, even when this is one"}},
		Action: func(c *cli.Context) error {
			if c.NArg() < 2 {
				return usage("mesita exec JOB|TASK -- COMMAND [ARG…]: %s", missing("job or task", c.NArg()))
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			id, err := a.runningTask(c, cl, c.Args().First())
			if err != nil {
				return err
			}
			return a.exec(c, cl, id, c.Args().Tail())
		},
	}
}

// runningTask is the task that id names, or the first running one of that job.
func (a *app) runningTask(c *cli.Context, cl *client.Client, id string) (string, error) {
	id, err := idHere(c.Context, cl, id)
	if err != nil {
		return "", err
	}
	if _, err = cl.Task(c.Context, id); err == nil {
		return id, nil
	}
	if api.ErrorCode(err) != api.CodeNotFound {
		return "", err
	}
	if _, err := cl.Job(c.Context, id); err != nil {
		return "", noJobOrTask(id, err)
	}
	tasks, err := cl.FindTasks(c.Context, client.TaskQuery{Job: id, State: "running", Limit: 1})
	if err != nil {
		return "", err
	}
	for _, t := range tasks {
		return t.ID, nil
	}
	return "", api.Errorf(api.CodeConflict, "no task of %s runs now: see `mesita why %s`", id, id)
}

func (a *app) exec(c *cli.Context, cl *client.Client, id string, command []string) error {
	o := client.ExecOptions{Command: command, Stdin: a.in, Stdout: a.out, Stderr: a.err}
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.Context)) // signals are the command's from here on
	defer cancel()
	o.Signals = watchSignals(ctx)
	in, ok := a.in.(*os.File)
	if ok && !c.Bool("no-tty") && term.IsTerminal(int(in.Fd())) && isTerminal(a.out) {
		o.TTY = true
		screen := fileOf(a.out)
		o.Size = terminalSize(screen)
		o.Resize = watchSize(ctx, screen)
		old, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return err
		}
		defer func() { _ = term.Restore(int(in.Fd()), old) }() // nothing to do if it fails
	}
	code, err := cl.Exec(ctx, id, o)
	if err != nil {
		return err
	}
	if code != 0 {
		return exitError(code)
	}
	return nil
}

func terminalSize(f *os.File) client.Size {
	w, h, err := term.GetSize(int(f.Fd()))
	if err != nil || w <= 0 || h <= 0 {
		return client.Size{Rows: 24, Cols: 80}
	}
	return client.Size{Rows: uint16(h), Cols: uint16(w)}
}

// watchSignals passes on what would end this program until ctx ends.
func watchSignals(ctx context.Context) <-chan syscall.Signal {
	got := make(chan os.Signal, 4)
	signal.Notify(got, syscall.SIGINT, syscall.SIGTERM)
	out := make(chan syscall.Signal)
	go func() {
		defer signal.Stop(got)
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-got:
				select {
				case out <- s.(syscall.Signal):
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}
