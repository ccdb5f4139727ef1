package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/cli/specfile"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

// applyTries bounds how often what was changed meanwhile is planned anew.
const applyTries = 5

func (a *app) applyCommand() *cli.Command {
	return &cli.Command{
		Name: "apply", Usage: "make partitions and jobs be as YAML files say, all of them or none", ArgsUsage: "[FILE…]",
		Description: example("mesita apply web.yaml", "mesita apply -f jobs/ -f more.yaml --dry-run", "mesita apply jobs/ --prune -l team=web", "mesita apply - < jobs.yaml"),
		Flags: []cli.Flag{
			filesFlag(),
			option.DryRunFlag(),
			&cli.BoolFlag{Name: "again", Usage: "let a batch that has ended, and is another by its file, run again"},
			&cli.BoolFlag{Name: "prune", Usage: "stop the jobs with --label that no file names"},
			labelFlag("the label, to prune,"),
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "answer yes"},
			&cli.BoolFlag{Name: "no-upload", Usage: "do not upload local programs"},
			&cli.BoolFlag{Name: "detach", Usage: "do not wait"},
			upForFlag(),
			option.SpanFlag("timeout", 5*time.Minute, "the most `TIME` to wait for all services to run"),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print ids only"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT` of the result: table, json or yaml"},
		},
		Action: func(c *cli.Context) error {
			if c.Bool("prune") != c.IsSet("label") {
				return usage("mesita apply --prune -l KEY=VALUE: --prune and --label go together: jobs with the label that no file names are stopped")
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

// readFiles reads all files that are named, by flags and without.
func (a *app) readFiles(c *cli.Context, verb string) (*specfile.Docs, error) {
	named := append(c.StringSlice("file"), c.Args().Slice()...)
	if len(named) == 0 {
		return nil, usage("mesita %s FILE…: FILE is missing: name a file, a folder, or - for standard input; see --help", verb)
	}
	docs := new(specfile.Docs)
	for _, path := range named {
		files, err := filesAt(path)
		if err != nil {
			return nil, err
		}
		for _, path := range files {
			var b []byte
			if path == "-" {
				path = "stdin"
				b, err = option.ReadFrom(a.in, "file", path, specfile.MaxSize)
			} else {
				b, err = option.ReadFile("file", path, specfile.MaxSize)
			}
			if err != nil {
				return nil, err
			}
			if err := docs.Add(path, b); err != nil {
				return nil, err
			}
		}
	}
	last := named[len(named)-1]
	if last == "-" {
		last = "stdin"
	}
	return docs, docs.Some(last)
}

// filesAt is the file of that name, or those right in the folder.
func filesAt(path string) ([]string, error) {
	info, err := os.Stat(path)
	if path == "-" || err != nil || !info.IsDir() {
		return []string{path}, nil // if it is not there, to read it says so
	}
	var out []string
	for _, pattern := range []string{"*.yaml", "*.yml"} {
		found, err := filepath.Glob(filepath.Join(escaped(path), pattern))
		if err != nil {
			return nil, api.FieldErrorf("file", "%v", err)
		}
		out = append(out, found...)
	}
	if len(out) == 0 {
		return nil, api.FieldErrorf("file", "%s holds no file *.yaml or *.yml: those in its folders are left out, name them by themselves", path)
	}
	slices.Sort(out)
	return out, nil
}

// escaped is a path in which no character stands for others.
func escaped(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
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
	if err := a.uploadAll(c, cl, specs); err != nil {
		return docs.Located(err)
	}
	answer, err := a.applied(c, cl, docs, specs)
	if errors.Is(err, client.ErrOneByOne) {
		if c.Bool("prune") {
			return api.Errorf(api.CodeConflict, "--prune needs a cluster that changes several together: raise its level first, see `mesita cluster level`; or stop the jobs with `mesita stop`")
		}
		return a.applyEach(c, cl, docs)
	}
	if err != nil || answer == nil {
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

// applied asks for all of it, again if something was changed meanwhile, and once a
// question that has to be asked is answered with yes. It is nil if that was no.
func (a *app) applied(c *cli.Context, cl *client.Client, docs *specfile.Docs, specs []*api.JobSpec) (*api.ApplyAnswer, error) {
	r := api.ApplyRequest{Partitions: docs.Partitions, Jobs: specs, Again: c.Bool("again")}
	confirmed := map[string]bool{}
	for try, pause := 1, backoff.New(50*time.Millisecond, time.Second); ; try++ {
		if c.Bool("prune") {
			var err error
			if r.Stop, err = pruned(c, cl, docs); err != nil {
				return nil, err
			}
			if ok, err := a.mayPrune(c, r.Stop, confirmed); err != nil || !ok {
				return nil, err
			}
		}
		answer, err := cl.ApplyAll(c.Context, r, onlyLooks(c))
		var e *api.Error
		errors.As(err, &e)
		switch {
		case e != nil && strings.HasSuffix(e.Field, "."+api.FieldRevision) && try < applyTries:
			backoff.Pause(c.Context, pause.Next())
		case e != nil && strings.HasSuffix(e.Field, "."+api.FieldAgain) && !r.Again && (c.Bool("yes") || isTerminal(a.in) && isTerminal(a.err)):
			if !c.Bool("yes") && !a.confirm("%v\nLet them run again?", docs.Located(err)) {
				return nil, nil
			}
			r.Again = true
		default:
			return answer, err
		}
	}
}

// pruned are the jobs that keep running with the labels, and that no document names.
func pruned(c *cli.Context, cl *client.Client, docs *specfile.Docs) (stop []string, err error) {
	jobs, err := cl.Jobs(c.Context, false, c.StringSlice("label")...)
	if err != nil {
		return nil, err
	}
	named := map[string]bool{}
	for _, s := range docs.Jobs {
		named[s.Name] = true
	}
	for _, j := range jobs {
		if !named[j.ID] && !j.Stop {
			stop = append(stop, j.ID)
		}
	}
	return stop, nil
}

// mayPrune asks whether jobs that were not asked for before are to be stopped.
func (a *app) mayPrune(c *cli.Context, stop []string, confirmed map[string]bool) (bool, error) {
	var more []string
	for _, id := range stop {
		if !confirmed[id] {
			more = append(more, id)
		}
	}
	switch {
	case len(more) == 0 || c.Bool("yes") || onlyLooks(c):
		return true, nil
	case !isTerminal(a.in) || !isTerminal(a.err):
		return false, usage("--prune would stop %s: %s: say yes with --yes, or look first with --dry-run", api.Count(len(more), "job"), someOf(more))
	case !a.confirm("No file names %s with that label: %s\nStop them?", api.Count(len(more), "job"), someOf(more)):
		return false, nil
	}
	for _, id := range more {
		confirmed[id] = true
	}
	return true, nil
}

// confirm asks on the terminal; whatever is not yes is no.
func (a *app) confirm(format string, args ...any) bool {
	fmt.Fprintf(a.err, format+" [y/N] ", args...)
	text, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	answer := strings.ToLower(strings.TrimSpace(text))
	if answer == "y" || answer == "yes" {
		return true
	}
	a.progress("nothing is done")
	return false
}

// uploadAll stores each program once. What is only looked at is not uploaded, but
// known by its digest.
func (a *app) uploadAll(c *cli.Context, cl *client.Client, specs []*api.JobSpec) error {
	known := map[string]string{}
	for i, s := range specs {
		if s.Program != "" || len(s.Command) == 0 {
			continue
		}
		digest, ok := known[s.Command[0]]
		if !ok {
			if err := a.upload(c, cl, s); err != nil {
				return api.InField(fmt.Sprintf("jobs[%d]", i), err)
			}
			digest = s.Program
			known[s.Command[0]] = digest
		}
		s.Program = digest
	}
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
