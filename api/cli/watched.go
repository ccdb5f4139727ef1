package cli

import (
	"fmt"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
)

// watchPause is the least time between two times that a watch prints.
const watchPause = 500 * time.Millisecond

// watched gives a command that reads --watch: to do it again after events.
func (a *app) watched(cmd *cli.Command) *cli.Command {
	show := cmd.Action
	cmd.Flags = append(cmd.Flags, &cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "print again whenever something changes"})
	cmd.Action = func(c *cli.Context) error {
		if c.Bool("watch") {
			return a.watch(c, show)
		}
		return show(c)
	}
	return cmd
}

func (a *app) watch(c *cli.Context, show cli.ActionFunc) error {
	cl, err := a.client(c)
	if err != nil {
		return err
	}
	after, err := cl.LastEvent(c.Context) // from before the first look, which may miss what comes meanwhile
	if err != nil {
		return err
	}
	if err := show(c); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(c.Context)
	changed := make(chan struct{}, 1)
	g.Go(func() error {
		defer close(changed)
		again := func() error {
			select {
			case changed <- struct{}{}:
			default: // it will be shown already
			}
			return nil
		}
		return cl.EventsFromNow(ctx, client.EventQuery{After: after, Brief: true}, again, func(api.Event) error { return again() })
	})
	g.Go(func() error {
		for range changed {
			fmt.Fprintln(a.out)
			if err := show(c); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
			case <-time.After(watchPause):
			}
		}
		return nil
	})
	if err := g.Wait(); c.Context.Err() == nil {
		return err
	}
	return nil // Ctrl-C is how a watch ends
}
