package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/line"
	"github.com/urfave/cli/v2"
)

// Version is set by the build: -ldflags "-X …/api/cli.Version=1.2.3".
var Version = "0.1.0"

// app is one run of the command line.
type app struct {
	in  io.Reader
	out io.Writer // results
	err io.Writer // progress, warnings, errors
}

// exitError ends the program with a code and without a message: what there is
// to say was said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// Main runs the command line and returns its exit code.
func Main(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	a := &app{in: in, out: out, err: errw}
	if fetch := a.here().fetch; fetch != nil && len(args) > 1 {
		if code, ok := fetch(ctx, args[1]); ok {
			return code
		}
	}
	understandColours(out, errw)
	if len(args) > 1 && args[1] == line.CompleteCommand { // before flags are looked at: they are those of another line
		a.complete(ctx, args[2:])
		return 0
	}
	root := a.root()
	l, err := line.Parse(root, args[1:])
	if err == nil {
		a.out, err = inked(out, l.Global("color", "auto"))
	}
	switch {
	case err != nil:
	case l.Help:
		l.PrintHelp(a.out, root)
	default:
		err = l.Run(ctx, root)
	}
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return interrupted
	}
	return a.exit(err)
}

// interrupted is what shells give a program that a SIGINT ended.
const interrupted = 130

// errorMark begins the line with which a program of ours says why it failed.
const errorMark = "error: "

// exit prints an error, with what to do next, and chooses the exit code.
func (a *app) exit(err error) int {
	var code exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	var e *api.Error
	if !errors.As(err, &e) {
		fmt.Fprintf(a.err, errorMark+"%v\n", err)
		return 1
	}
	fmt.Fprintf(a.err, errorMark+"%s\n", e.Error())
	return e.ExitCode()
}

func usage(format string, args ...any) error { return api.Errorf(api.CodeInvalid, format, args...) }

func (a *app) root() *cli.App {
	r := &cli.App{}
	r.Name, r.HelpName = "mesita", "mesita"
	r.Usage = "run work on a handful of servers as if they were one"
	r.Description = example("mesita dev", "mesita run web -n 3 -p http -- ./server --listen :{http}", "mesita ps")
	r.Reader, r.Writer, r.ErrWriter = a.in, a.out, a.err
	r.Flags = globalFlags()
	r.Commands = slices.Concat(
		group("Run work", a.runCommand(), a.jobCommand(), a.applyCommand(), a.diffCommand(), a.exportCommand(),
			a.scaleCommand(), a.stopCommand(), a.execCommand(), a.cpCommand(), a.simulateCommand()),
		group("See what runs, and why not", a.statusCommand(), a.psCommand(), a.showCommand(),
			a.logsCommand(), a.topCommand(), a.whyCommand(), a.queueCommand()),
		group("See what happened", a.eventsCommand(), a.incidentsCommand(), a.doctorCommand(), a.reportCommand(), a.auditCommand()),
		group("The cluster", a.devCommand(), a.nodeCommand(), a.clusterCommand(), a.partitionCommand(), a.frameworkCommand(), a.offerCommand(), a.rebalanceCommand(), a.keeperCommand()),
		group("Who may do what", a.tokenCommand(), a.roleCommand(), a.canCommand(), a.loginCommand(), a.logoutCommand()),
		group("This program", a.completionCommand(), a.helpCommand(), a.versionCommand()),
	)
	return r
}

// group is commands that help lists together.
func group(title string, cs ...*cli.Command) []*cli.Command {
	for _, c := range cs {
		c.Category = title
	}
	return cs
}

func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "addr", EnvVars: []string{"MESITA_ADDR"}, Usage: "`ADDRESSES` of nodes, HOST:PORT, comma-separated"},
		socketFlag(),
		&cli.StringFlag{Name: "color", Value: "auto", Usage: "`WHEN` states have colours: auto (on a terminal, unless NO_COLOR is set), always or never"},
	}
}

func socketFlag() cli.Flag {
	return &cli.StringFlag{Name: "socket", EnvVars: []string{"MESITA_SOCKET"}, Usage: "unix socket `PATH` of the node on this machine (default /run/mesita.sock)"}
}

// example is the part of a command's help that shows its use.
func example(lines ...string) string {
	return "Examples:\n  " + strings.Join(lines, "\n  ")
}

// missing says what of two things is not among n arguments.
func missing(first string, n int) string {
	if n == 0 {
		return "no " + first + " and no command are given"
	}
	return "a " + first + " or a command is missing"
}

// args checks the number of arguments of a command.
func args(c *cli.Context, least, most int, form string) error {
	switch n := c.NArg(); {
	case n < least:
		words := strings.Fields(form)
		first := slices.IndexFunc(words, func(w string) bool { return w == strings.ToUpper(w) })
		if first < 0 {
			first = len(words) - 1
		}
		return usage("mesita %s: %s is missing; see --help", form, strings.TrimRight(words[min(first+n, len(words)-1)], ".…"))
	case most == 0 && n > 0 && slices.ContainsFunc(c.Command.Flags, func(f cli.Flag) bool { return f.Names()[0] == "name" }):
		return usage("mesita %s: %q is too much: a name is given as --name %[2]s; see --help", form, c.Args().First())
	case most >= 0 && n > most:
		return usage("mesita %s: %q is too much%s; see --help", form, c.Args().Get(most), perhapsBy(c.Command.Flags))
	}
	return nil
}

// perhapsBy names the flags that take a value, where they are few: what is too much may
// be meant as that of one.
func perhapsBy(flags []cli.Flag) string {
	var names []string
	for _, f := range flags {
		if doc, ok := f.(cli.DocGenerationFlag); ok && doc.TakesValue() && f.Names()[0] != "output" {
			names = append(names, "--"+f.Names()[0])
		}
	}
	if len(names) == 0 || len(names) > 2 {
		return ""
	}
	return ", unless it is meant for " + strings.Join(names, " or ")
}

func isTerminal(w any) bool {
	f := fileOf(w)
	if f == nil {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && info.Name() != "null"
}

// fileOf is what is written to in the end, nil for anything but a file.
func fileOf(w any) *os.File {
	switch w := w.(type) {
	case *os.File:
		return w
	case *picture:
		return w.of
	case *ink:
		return fileOf(w.Writer)
	}
	return nil
}
