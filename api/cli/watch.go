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

func (a *app) eventsCommand() *cli.Command {
	return &cli.Command{
		Name: "events", Usage: "print what happened", Description: example("mesita events --for web", "mesita events --since 2h", "mesita events --since 2026-11-20T10:00:00Z --until 2026-11-20T12:00:00Z -n 1000", "mesita events -f -o json"),
		Flags: readFlags(
			&cli.StringFlag{Name: "for", Usage: "only about this job, task, node, partition or framework, or by this token, `ID`"},
			&cli.StringFlag{Name: "since", Usage: "only those not older than `TIME`: how long ago, or as in RFC 3339; 30 days are kept"},
			&cli.StringFlag{Name: "until", Usage: "only those not newer than `TIME`"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f", "w"}, Usage: "keep watching"},
			&cli.Uint64Flag{Name: "after", Usage: "only those after this `INDEX`"},
			&cli.Uint64Flag{Name: "before", Usage: "only those before this `INDEX`: the page before"},
			&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Value: 100, Usage: "the newest `NUMBER`"},
		),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "events"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			return a.events(c, cl)
		},
	}
}

// eventQuery checks which events are wanted.
func eventQuery(c *cli.Context) (client.EventQuery, error) {
	q := client.EventQuery{For: c.String("for"), Since: c.String("since"), Until: c.String("until"), After: c.Uint64("after"), Before: c.Uint64("before"), Limit: c.Int("limit")}
	now := time.Now()
	var at [2]time.Time
	for i, name := range []string{"since", "until"} {
		s := c.String(name)
		if s == "" && !c.IsSet(name) {
			continue
		}
		var err error
		if at[i], err = api.ParseWhen(s, now); err != nil {
			return q, option.InFlag(name, err)
		}
	}
	switch {
	case q.Limit < 1:
		return q, api.FieldErrorf("limit", "%d is not above 0", q.Limit)
	case c.IsSet("before") && q.Before == 0:
		return q, api.FieldErrorf("before", "no event has an index below 1: give the lowest index of the page after it")
	case q.Since != "" && at[0].After(now.Add(time.Minute)):
		return q, api.FieldErrorf("since", "%s is in the future: give a time in the past", q.Since)
	case q.Since != "" && q.Until != "" && at[1].Before(at[0]):
		return q, api.FieldErrorf("until", "%s is before --since %s: swap them", q.Until, q.Since)
	case c.Bool("follow") && c.IsSet("until"):
		return q, api.FieldErrorf("until", "cannot be combined with --follow, which never ends: leave one of them out")
	case c.Bool("follow") && c.IsSet("before"):
		return q, api.FieldErrorf("before", "cannot be combined with --follow, which never ends: leave one of them out")
	}
	return q, nil
}

func (a *app) events(c *cli.Context, cl *client.Client) error {
	f, err := format(c)
	if err != nil {
		return err
	}
	q, err := eventQuery(c)
	if err != nil {
		return err
	}
	q.Brief = f != "json" && f != "yaml"
	after := q.After
	if c.Bool("follow") && !c.IsSet("after") { // what happened last to it may be long ago
		if after, err = cl.LastEvent(c.Context); err != nil {
			return err
		}
	}
	var recent []api.Event
	if !c.IsSet("after") || !c.Bool("follow") || q.Since != "" {
		recent, err = cl.FindEvents(c.Context, q)
		if c.Bool("follow") && api.ErrorCode(err) == api.CodeNotFound { // it may come yet
			a.progress("nothing is called %s yet: waiting for its events", q.For)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	if len(recent) == q.Limit && (q.Since != "" || q.Before != 0) && !c.Bool("quiet") {
		fmt.Fprintf(a.err, "the newest %d: there may be more, with a higher --limit or with --before %d\n", q.Limit, recent[0].Index) // nobody reads if it fails
	}
	about := frameworkNames(c.Context, cl, tokenNames(c.Context, cl))
	if !c.Bool("follow") {
		return list(a.out, c, recent, func(e api.Event) string { return fmt.Sprint(e.Index) }, []column[api.Event]{
			{"INDEX", func(e api.Event) string { return fmt.Sprint(e.Index) }, false},
			{"AGE", func(e api.Event) string { return age(e.Time) }, false},
			{"KIND", func(e api.Event) string { return string(e.Kind) }, false},
			{"OBJECT", about, false},
			{"NODE", func(e api.Event) string { return e.Node }, false},
			{"BY", func(e api.Event) string { return e.Actor }, false},
			{"WHAT", eventText, false},
		})
	}
	show := func(e api.Event) error {
		after = max(after, e.Index)
		if f == "json" || f == "yaml" {
			return printJSON(a.out, e)
		}
		line := fmt.Sprintf("%s  %-14s %-16s %-10s %s", e.Time.Local().Format(time.TimeOnly), e.Kind, about(e), or(e.Node, "-"), eventText(e))
		if width := columnsOf(a.out); width > 0 && f != "wide" {
			line = cut(line, width)
		}
		_, err := fmt.Fprintln(a.out, printable(line))
		return err
	}
	for _, e := range recent {
		if err := show(e); err != nil {
			return err
		}
	}
	return cl.Events(c.Context, client.EventQuery{After: after, For: q.For, Brief: q.Brief}, show)
}

// eventObject is what an event is about: of a node its name, as people know it.
func eventObject(e api.Event) string {
	if e.Node != "" && (strings.HasPrefix(string(e.Kind), "node.") || strings.HasPrefix(string(e.Kind), "incident.") && e.Job == "") {
		return e.Node
	}
	return e.Object
}

// tokenNames is eventObject, with the names of tokens that have one and that are still there
// instead of their ids. They are asked for once a token is spoken of, and at most once a
// second again when one is made; only who manages tokens is told.
func tokenNames(ctx context.Context, cl *client.Client) func(api.Event) string {
	var names map[string]string
	var asked time.Time
	return func(e api.Event) string {
		if !strings.HasPrefix(string(e.Kind), "token.") {
			return eventObject(e)
		}
		if names == nil || names[e.Object] == "" && e.Kind == api.EventTokenCreated && time.Since(asked) > time.Second {
			names, asked = map[string]string{}, time.Now()
			for _, kind := range []api.TokenKind{api.TokenClient, api.TokenJoin} {
				tokens, err := cl.Tokens(ctx, kind)
				if err != nil { // not allowed: the ids are shown
					break
				}
				for _, t := range tokens {
					names[t.ID] = t.Name
				}
			}
		}
		return or(names[e.Object], e.Object)
	}
}

// frameworkNames has events of frameworks that are remembered named by what those call
// themselves, and leaves others to next. They are asked for as names of tokens are.
func frameworkNames(ctx context.Context, cl *client.Client, next func(api.Event) string) func(api.Event) string {
	var names map[string]string
	var asked time.Time
	return func(e api.Event) string {
		if !strings.HasPrefix(string(e.Kind), "framework.") {
			return next(e)
		}
		if names[e.Object] == "" && (names == nil || time.Since(asked) > time.Second) {
			names, asked = map[string]string{}, time.Now()
			all, _ := cl.Frameworks(ctx, true) // of a server that knows none the ids are shown
			for _, f := range all {
				names[f.ID] = f.Name
			}
		}
		return or(names[e.Object], e.Object)
	}
}

func eventText(e api.Event) string {
	if e.Kind == api.EventTaskState && e.Task != nil {
		if e.Message == "" {
			return stateText(e.Task)
		}
		return stateText(e.Task) + ": " + e.Message
	}
	if e.Kind == api.EventTaskPlaced && e.Task != nil && e.Message == "" {
		return fmt.Sprintf("attempt %d, for partition %s", e.Task.Attempt, e.Task.Partition)
	}
	return e.Message
}

func (a *app) whyCommand() *cli.Command {
	return a.watched(&cli.Command{
		Name: "why", Usage: "say why a job or task is as it is", ArgsUsage: "JOB|TASK", Description: example("mesita why 57.12", "mesita why web"),
		Flags: readFlags(),
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "why JOB|TASK"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			id, err := idHere(c.Context, cl, c.Args().First())
			if err != nil {
				return err
			}
			why, err := cl.Why(c.Context, id)
			if err != nil {
				return noJobOrTask(id, err)
			}
			return one(a.out, c, why, why.ID, func(w io.Writer) error { return printWhy(w, why) })
		},
	})
}
