package cli

import (
	"fmt"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/urfave/cli/v2"
)

func (a *app) offerCommand() *cli.Command {
	return &cli.Command{
		Name: "offer", Usage: "room that is set aside for a framework until it answers",
		Description: example("mesita offer ls", "mesita offer rescind 3f1c"),
		Subcommands: []*cli.Command{a.offerLs(), a.offerRescind()},
	}
}

func (a *app) offerLs() *cli.Command {
	return a.watched(&cli.Command{
		Name: "ls", Usage: "list what is on offer", Description: example("mesita offer ls", "mesita offer ls --framework marathon -o json"),
		Flags: readFlags(&cli.StringFlag{Name: "framework", Usage: "only to this `FRAMEWORK`"}),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "offer ls"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			of := c.String("framework")
			if c.IsSet("framework") {
				f, err := findFramework(c.Context, cl, of)
				if err != nil {
					return err
				}
				of = f.ID
			}
			all, err := cl.Offers(c.Context, of)
			if err != nil {
				return err
			}
			return list(a.out, c, all, func(o *api.OfferStatus) string { return o.ID }, offerColumns(cl.Now()))
		},
	})
}

func offerColumns(now time.Time) []column[*api.OfferStatus] {
	return []column[*api.OfferStatus]{
		{"FRAMEWORK", func(o *api.OfferStatus) string { return or(o.Name, o.Framework) }, false},
		{"PARTITION", func(o *api.OfferStatus) string { return o.Partition }, false},
		{"NODE", func(o *api.OfferStatus) string { return o.Node }, false},
		{"ROOM", func(o *api.OfferStatus) string { return brief(api.AmountsOf(o.Resources), 1) }, false},
		{"PORTS", func(o *api.OfferStatus) string { return o.Resources.Ports.String() }, true},
		{"AGE", func(o *api.OfferStatus) string { return ageAt(o.Created, now) }, false},
		{"ENDS IN", func(o *api.OfferStatus) string { return endsIn(o, now) }, false},
		{"FRAMEWORK ID", func(o *api.OfferStatus) string { return o.Framework }, true},
		{"ID", func(o *api.OfferStatus) string { return o.ID }, false},
	}
}

func endsIn(o *api.OfferStatus, now time.Time) string {
	if o.Expires.IsZero() {
		return "-"
	}
	return spanText(max(0, o.Expires.Sub(now)))
}

func (a *app) offerRescind() *cli.Command {
	return &cli.Command{
		Name: "rescind", Usage: "take offers back; their room may be offered again", ArgsUsage: "OFFER…", Description: example("mesita offer rescind 3f1c", "mesita offer rescind 3f1c 90ab --dry-run"),
		Flags: []cli.Flag{option.DryRunFlag()},
		Action: func(c *cli.Context) error {
			if err := args(c, 1, -1, "offer rescind OFFER…"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			all, err := cl.Offers(c.Context, "")
			if err != nil {
				return err
			}
			var found []*api.OfferStatus
			for _, ref := range c.Args().Slice() { // all of them before any is taken back
				o, err := findOffer(all, ref)
				if err != nil {
					return err
				}
				found = append(found, o)
			}
			for _, o := range found {
				text := fmt.Sprintf("offer %s of %s on %s to %s", o.ID, brief(api.AmountsOf(o.Resources), 1), o.Node, printable(or(o.Name, o.Framework)))
				if c.Bool("dry-run") {
					a.progress("would take back %s", text)
					continue
				}
				if err := cl.RescindOffer(c.Context, o.ID); err != nil {
					return err
				}
				a.progress("took back %s", text)
			}
			return nil
		},
	}
}

// findOffer finds one by its id, or the unique beginning of it.
func findOffer(all []*api.OfferStatus, ref string) (*api.OfferStatus, error) {
	var begins []*api.OfferStatus
	for _, o := range all {
		if o.ID == ref {
			return o, nil
		}
		if api.BeginsID(o.ID, ref) {
			begins = append(begins, o)
		}
	}
	switch len(begins) {
	case 0:
		return nil, api.Errorf(api.CodeNotFound, "no offer %q: give an id or the first %d or more of one; `mesita offer ls` lists them, and what was answered is gone", ref, api.LeastOfID)
	case 1:
		return begins[0], nil
	}
	return nil, api.Errorf(api.CodeNotFound, "%s begin with %q: give a whole id; `mesita offer ls` lists them", api.Count(len(begins), "offer"), ref)
}
