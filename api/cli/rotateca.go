package cli

import (
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) clusterRotateCA() *cli.Command {
	return &cli.Command{
		Name: "rotate-ca", Usage: "change the key of the cluster's CA, while everything runs",
		Description: "All nodes first trust the new key, then get certificates from it, then forget the old one. A node that is off follows\nwhen it is back. Users elsewhere need the new ca.crt in the end. Existing join tokens lead to\nthe new key as long as they are valid: revoke them if the old key may be in the wrong hands.\n\n" +
			example("mesita cluster rotate-ca"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "detach", Usage: "do not wait"},
			option.SpanFlag("timeout", 0, "the most `TIME` to wait (default: no limit)"),
			option.DryRunFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "cluster rotate-ca"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			if c.Bool("dry-run") {
				about, err := cl.Cluster(c.Context)
				if err != nil {
					return err
				}
				if about.CA.Phase != "" {
					return api.Errorf(api.CodeConflict, "the key of the CA is being changed: %s", caText(about.CA))
				}
				a.progress("would change the key of the CA of %s, %s… now", about.Name, shortPin(about.CA.Pin))
				return nil
			}
			begun, err := cl.RotateCA(c.Context)
			if err != nil || c.Bool("detach") {
				return err
			}
			return a.awaitCA(c, cl, begun.Step)
		},
	}
}

// awaitCA waits for the end of a change that has come to a step.
func (a *app) awaitCA(c *cli.Context, cl *client.Client, step uint64) error {
	begin, said := time.Now(), ""
	for {
		about, err := cl.Cluster(c.Context)
		switch {
		case c.Context.Err() != nil:
			a.progress("detached; the change continues: see `mesita cluster show`")
			return nil
		case err != nil:
			return err
		case about.CA.Phase == "" && about.CA.Step > step:
			a.progress("the key of the CA is %s… now, and the old one is forgotten: who calls from elsewhere needs the new ca.crt", shortPin(about.CA.Pin))
			return nil
		case option.Span(c, "timeout") > 0 && time.Since(begin) > option.Span(c, "timeout"):
			return api.Errorf(api.CodeTimeout, "after %s: %s; it continues: see `mesita cluster show`", option.Span(c, "timeout"), caText(about.CA))
		}
		if text := caText(about.CA); text != said {
			a.progress("%s", text)
			said = text
		}
		select {
		case <-c.Context.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func caText(s api.CAStatus) string {
	text := s.Phase
	if len(s.Waiting) > 0 {
		text += "; waiting for " + strings.Join(s.Waiting, ", ")
	}
	if len(s.Away) > 0 {
		text += "; not there, and not waited for: " + strings.Join(s.Away, ", ")
	}
	return text
}

func shortPin(pin string) string { return pin[:min(8, len(pin))] }
