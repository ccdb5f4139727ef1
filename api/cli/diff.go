package cli

import (
	"bufio"
	"errors"
	"fmt"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) diffCommand() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "print what apply would change, field by field; exits with 1 if something would be, and with 2 or more if it cannot be said", ArgsUsage: "[FILE…]",
		Description: example("mesita diff web.yaml", "mesita diff -f jobs/ -o json", "mesita diff jobs/ --prune -l team=web"),
		Flags: append(option.VarFlags(),
			filesFlag(),
			&cli.BoolFlag{Name: "prune", Usage: "also the jobs with a name and --label that no file names"},
			labelFlag("the label, to prune,"),
			&cli.BoolFlag{Name: "no-upload", Usage: "as apply would not upload local programs"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print the names alone of what would be changed"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT` of the result: table, json or yaml"},
		),
		Action: func(c *cli.Context) error { return trouble(a.diff(c)) },
	}
}

// trouble keeps 1 for differences, as diff of POSIX does.
func trouble(err error) error {
	var e *api.Error
	var code exitError
	switch {
	case err == nil, errors.As(err, &code):
		return err
	case errors.As(err, &e) && e.ExitCode() != 1:
		return err
	case e != nil:
		out := *e
		out.Exit = 2
		return &out
	}
	return &api.Error{Code: api.CodeInternal, Message: err.Error(), Exit: 2}
}

func (a *app) diff(c *cli.Context) error {
	if c.Bool("prune") != c.IsSet("label") {
		return usage("mesita diff --prune -l KEY=VALUE: --prune and --label go together")
	}
	docs, err := a.readFiles(c, "diff")
	if err != nil {
		return err
	}
	f, err := format(c)
	if err != nil {
		return err
	}
	cl, err := a.client(c)
	if err != nil {
		return err
	}
	would, err := a.uploadAll(c, cl, docs.Jobs, docs.Folder)
	if err != nil {
		return docs.Located(err)
	}
	answer, err := a.together(c, docs, docs.Jobs).do(c.Context, cl)
	switch {
	case errors.Is(err, client.ErrOneByOne):
		return api.Errorf(api.CodeConflict, "this cluster cannot say what several documents come to together: raise its level first, see `mesita cluster level`; or use `mesita apply --dry-run`")
	case err != nil:
		return docs.Located(err)
	}
	if err := would.keepAll(docs.Jobs, answer); err != nil {
		return docs.Located(err)
	}
	changed := []api.Applied{}
	for _, did := range answer.Items {
		if did.Action != api.ApplyNothing {
			did.Plan = nil
			changed = append(changed, did)
		}
	}
	if err := a.printDiff(f, changed); err != nil || len(changed) == 0 {
		return err
	}
	return exitError(1)
}

func (a *app) printDiff(f string, changed []api.Applied) error {
	switch f {
	case "json":
		return printJSON(a.out, changed)
	case "yaml":
		return printYAML(a.out, changed)
	}
	w := bufio.NewWriter(a.out)
	for _, did := range changed {
		if f == "name" {
			fmt.Fprintln(w, did.Name)
			continue
		}
		fmt.Fprintf(w, "%s %s: %s\n", did.Kind, did.Name, did.Action)
		if did.Action == api.ApplyUpdate || did.Action == api.ApplyAgain {
			for _, x := range did.Changes {
				fmt.Fprintf(w, "  %s\n", printable(x.String()))
			}
		}
	}
	return w.Flush()
}
