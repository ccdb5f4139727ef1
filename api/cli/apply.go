package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/cli/specfile"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) applyCommand() *cli.Command {
	return &cli.Command{
		Name: "apply", Usage: "make partitions and jobs be as YAML files say, all of them or none", ArgsUsage: "[FILE…]",
		Description: example("mesita apply web.yaml", "mesita apply -f jobs/ -f more.yaml --dry-run", "mesita apply jobs/ --prune -l team=web", "mesita apply - < jobs.yaml"),
		Flags: append(option.VarFlags(),
			filesFlag(),
			option.DryRunFlag(),
			&cli.BoolFlag{Name: "again", Usage: "let a batch that has ended, and is another by its file, run again"},
			&cli.BoolFlag{Name: "prune", Usage: "stop the jobs with a name and --label that no file names"},
			labelFlag("the label, to prune,"),
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "stop what --prune finds without asking"},
			&cli.BoolFlag{Name: "no-upload", Usage: "do not upload local programs"},
			&cli.BoolFlag{Name: "detach", Usage: "do not wait"},
			upForFlag(),
			option.SpanFlag("timeout", 5*time.Minute, "the most `TIME` to wait for all services to run"),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print ids only"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT` of the result: table, json or yaml"},
		),
		Action: func(c *cli.Context) error {
			if c.Bool("prune") != c.IsSet("label") {
				return usage("mesita apply --prune -l KEY=VALUE: --prune and --label go together: jobs with the label that no file names are stopped")
			}
			if c.Bool("yes") && !c.Bool("prune") {
				return usage("mesita apply --yes goes with --prune: a batch that has ended runs again with --again")
			}
			docs, err := a.readFiles(c, "apply")
			if err != nil {
				return err
			}
			if _, err := format(c); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			return a.apply(c, cl, docs)
		},
	}
}

func filesFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "file", Aliases: []string{"f"}, Usage: "`FILE` of documents, a folder (its *.yaml and *.yml, no folders in it), or - for standard input; may be repeated"}
}

// apply uploads the programs, has all documents applied together, and waits.
func (a *app) apply(c *cli.Context, cl *client.Client, docs *specfile.Docs) error {
	specs := docs.Jobs
	if onlyLooks(c) { // without digests of what is nowhere yet, if one by one is asked
		specs = nil
		for _, s := range docs.Jobs {
			one := *s
			specs = append(specs, &one)
		}
	}
	would, err := a.uploadAll(c, cl, specs, docs.Folder)
	if err != nil {
		return docs.Located(err)
	}
	answer, err := a.together(c, docs, specs).do(c.Context, cl)
	if errors.Is(err, client.ErrOneByOne) {
		if c.Bool("prune") {
			return api.Errorf(api.CodeConflict, "--prune needs a cluster that changes several together: raise its level first, see `mesita cluster level`; or stop the jobs with `mesita stop`")
		}
		return a.applyEach(c, cl, docs)
	}
	if err != nil || answer == nil {
		return docs.Located(err)
	}
	if err := would.keepAll(specs, answer); err != nil {
		return docs.Located(err)
	}
	if err := a.printApplied(c, answer); err != nil || onlyLooks(c) {
		return err
	}
	var wait []*api.JobSpec
	for _, s := range docs.Jobs {
		if s.Kind == api.KindService {
			wait = append(wait, s)
		}
	}
	return a.awaitAll(c, cl, wait)
}

// onlyLooks reports whether a command changes nothing.
func onlyLooks(c *cli.Context) bool { return c.Bool("dry-run") || c.Command.Name == "diff" }

// uploadAll stores each program once. What is only looked at is not uploaded, but
// known by its digest: those it returns.
func (a *app) uploadAll(c *cli.Context, cl *client.Client, specs []*api.JobSpec, folder func(int) string) (promised, error) {
	known, would := map[string]string{}, promised{}
	for i, s := range specs {
		before := named(s)
		if err := a.uploadOne(c, cl, s, folder(i), known); err != nil {
			return nil, api.InField(fmt.Sprintf("jobs[%d]", i), err)
		}
		would.add(s, before)
	}
	return would, nil
}

// uploadOne stores the files and the program of a spec, if that is not among the known.
func (a *app) uploadOne(c *cli.Context, cl *client.Client, s *api.JobSpec, folder string, known map[string]string) error {
	if err := a.uploadFiles(c, cl, s, folder); err != nil {
		return err
	}
	path, _ := local(c, s)
	if path == "" {
		return nil
	}
	path = beside(folder, path)
	digest, ok := known[path]
	if !ok {
		if err := a.upload(c, cl, s, folder); err != nil {
			return err
		}
		digest = s.Program
		known[path] = digest
	}
	s.Program = digest
	return nil
}

// printApplied says what was done, a line for each document.
func (a *app) printApplied(c *cli.Context, answer *api.ApplyAnswer) error {
	f, err := format(c)
	switch {
	case err != nil:
		return err
	case f == "json":
		return printJSON(a.out, answer.Items)
	case f == "yaml":
		return printYAML(a.out, answer.Items)
	}
	w := bufio.NewWriter(a.out)
	for i := range answer.Items {
		did := &answer.Items[i]
		switch {
		case f == "name":
			fmt.Fprintln(w, did.Name)
		case onlyLooks(c):
			printPlanned(w, did)
		default:
			fmt.Fprintln(w, didText(did))
		}
	}
	return w.Flush()
}

var didWords = map[string]string{api.ApplyCreate: "created", api.ApplyUpdate: "changed", api.ApplyAgain: "runs again", api.ApplyNothing: "unchanged", api.ApplyStop: "stopped: no file names it"}

func didText(did *api.Applied) string {
	what := did.Kind + " " + did.Name
	if did.Version > 0 {
		what += fmt.Sprintf(" v%d", did.Version)
	}
	return strings.TrimRight(what+"   "+didWords[did.Action]+"   "+changesText(did), " ")
}

// changesText is which fields another value is for.
func changesText(did *api.Applied) string {
	if did.Action != api.ApplyUpdate && did.Action != api.ApplyAgain {
		return ""
	}
	var out []string
	for _, x := range did.Changes {
		out = append(out, printable(x.String()))
	}
	return strings.Join(out, ", ")
}

func printPlanned(w io.Writer, did *api.Applied) {
	if did.Plan == nil || did.Action == api.ApplyStop {
		verb := did.Action
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("plan  %s %s %s   %s", verb, did.Kind, did.Name, changesText(did)), " "))
		return
	}
	_ = printPlan(w, did.Plan) // the writer keeps its error
}
