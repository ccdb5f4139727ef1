package cli

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) incidentsCommand() *cli.Command {
	return a.watched(&cli.Command{
		Name: "incidents", Subcommands: []*cli.Command{a.incidentsClose()}, Usage: "list failures that were seen, what was done, and when they were over",
		Description: example("mesita incidents", "mesita incidents --all --for oak -o json"),
		Flags: readFlags(
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "also those that are over, after those that are not"},
			&cli.StringFlag{Name: "for", Usage: "only about this job, task or node, `ID`"},
			&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Value: 100, Usage: "the newest `NUMBER`"},
		),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "incidents"); err != nil {
				return err
			}
			if n := c.Int("limit"); n < 1 || n > api.MaxIncidents {
				return api.FieldErrorf("limit", "%d is not within 1 to %d", n, api.MaxIncidents)
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			all, err := cl.Incidents(c.Context, !c.Bool("all"), c.String("for"), c.Int("limit"))
			if err != nil {
				return err
			}
			return list(a.out, c, all, func(i *api.Incident) string { return fmt.Sprint(i.ID) }, incidentColumns)
		},
	})
}

func (a *app) incidentsClose() *cli.Command {
	return &cli.Command{
		Name: "close", Usage: "close incidents by hand: what is over closes by itself", ArgsUsage: "INCIDENT…", Description: example("mesita incidents close 12 13"),
		Flags: []cli.Flag{option.DryRunFlag()},
		Action: func(c *cli.Context) error {
			if err := args(c, 1, -1, "incidents close INCIDENT…"); err != nil {
				return err
			}
			var ids []uint64
			for _, s := range c.Args().Slice() {
				id, err := strconv.ParseUint(s, 10, 64)
				if err != nil {
					return usage("mesita incidents close INCIDENT…: %q is not a number: `mesita incidents` shows the ids", s)
				}
				ids = append(ids, id)
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			if c.Bool("dry-run") {
				return a.wouldClose(c, cl, ids)
			}
			if err := cl.CloseIncidents(c.Context, ids); err != nil {
				return err
			}
			a.progress("closed %s", api.Count(len(ids), "incident"))
			return nil
		},
	}
}

// wouldClose names what would be closed, or what cannot be.
func (a *app) wouldClose(c *cli.Context, cl *client.Client, ids []uint64) error {
	open, err := cl.Incidents(c.Context, true, "", api.MaxIncidents)
	if err != nil {
		return err
	}
	for _, id := range ids {
		i := slices.IndexFunc(open, func(n *api.Incident) bool { return n.ID == id })
		if i < 0 {
			return api.Errorf(api.CodeNotFound, "no open incident %d: see `mesita incidents`", id)
		}
		a.progress("would close incident %d: %s of %s", id, open[i].Kind, incidentObject(open[i]))
	}
	return nil
}

var incidentColumns = []column[*api.Incident]{
	{"ID", func(i *api.Incident) string { return fmt.Sprint(i.ID) }, false},
	{"KIND", func(i *api.Incident) string { return string(i.Kind) }, false},
	{"OBJECT", incidentObject, false},
	{"NODE", func(i *api.Incident) string { return i.Node }, false},
	{"SEEN", func(i *api.Incident) string { return age(i.Seen) }, false},
	{"OVER", func(i *api.Incident) string { return age(i.Over) }, false},
	{"COUNT", func(i *api.Incident) string { return fmt.Sprint(max(i.Count, 1)) }, true},
	{"CAUSE", func(i *api.Incident) string { return i.Message }, false},
	{"ACTION", func(i *api.Incident) string { return i.Action }, false},
}

// incidentObject names a node by its name, as everywhere else.
func incidentObject(i *api.Incident) string {
	if i.Job == "" {
		return or(i.Node, i.Object)
	}
	return i.Object
}
