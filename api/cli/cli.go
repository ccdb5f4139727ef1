package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mesita/mesita/api"
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
	root := a.root()
	ordered, err := reorder(root, args[1:])
	if err == nil {
		err = root.RunContext(ctx, append([]string{args[0]}, ordered...))
	}
	return a.exit(err)
}

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
		fmt.Fprintf(a.err, "error: %v\n", err)
		return 1
	}
	fmt.Fprintf(a.err, "error: %s\n", e.Error())
	return e.Code.ExitCode()
}

func usage(format string, args ...any) error { return api.Errorf(api.CodeInvalid, format, args...) }

func (a *app) root() *cli.App {
	r := cli.NewApp()
	r.Name, r.HelpName = "mesita", "mesita"
	r.Usage = "run work on a handful of servers as if they were one"
	r.Version, r.HideVersion = Version, true
	r.Reader, r.Writer, r.ErrWriter = a.in, a.out, a.err
	r.ExitErrHandler = func(*cli.Context, error) {} // Main alone decides
	r.UseShortOptionHandling = false
	r.Flags = globalFlags()
	r.Commands = []*cli.Command{
		a.devCommand(), a.nodeCommand(), a.clusterCommand(), a.keeperCommand(),
		a.runCommand(), a.jobCommand(), a.psCommand(), a.showCommand(), a.logsCommand(), a.stopCommand(), a.scaleCommand(),
		a.execCommand(), a.eventsCommand(), a.whyCommand(), a.topCommand(), a.applyCommand(), a.exportCommand(),
		a.tokenCommand(), a.loginCommand(), a.logoutCommand(), a.completionCommand(), a.versionCommand(),
	}
	r.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return usage("%v", err) }
	walk(r.Commands, func(c *cli.Command) {
		c.OnUsageError = r.OnUsageError
		c.HideHelpCommand = true
	})
	r.HideHelpCommand = true
	return r
}

func walk(cs []*cli.Command, f func(*cli.Command)) {
	for _, c := range cs {
		f(c)
		walk(c.Subcommands, f)
	}
}

func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "addr", EnvVars: []string{"MESITA_ADDR"}, Usage: "`ADDRESSES` of nodes, HOST:PORT, comma-separated"},
		&cli.StringFlag{Name: "socket", EnvVars: []string{"MESITA_SOCKET"}, Usage: "unix socket `PATH` of the node on this machine (default /run/mesita.sock)"},
	}
}

// reorder puts the flags of a command before its arguments, which the flag
// parser wants and people do not. It refuses unknown flags and commands with
// the nearest that exists.
func reorder(root *cli.App, args []string) ([]string, error) {
	var globals, path, flags, rest []string
	cmds, local := root.Commands, []cli.Flag(nil)
	leaf := false
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			rest = append(rest, args[i+1:]...)
			break
		}
		if len(arg) > 1 && arg[0] == '-' {
			name, _, inline := strings.Cut(strings.TrimLeft(arg, "-"), "=")
			to := &flags
			f := find(local, name)
			if f == nil {
				f, to = find(root.Flags, name), &globals
			}
			if f == nil && (name == "help" || name == "h") {
				flags = append(flags, "--help")
				continue
			}
			if f == nil {
				return nil, unknownFlag(arg, name, local, root.Flags)
			}
			*to = append(*to, arg)
			if b, ok := f.(cli.DocGenerationFlag); !inline && (!ok || b.TakesValue()) {
				if i++; i >= len(args) {
					return nil, usage("%s needs a value", arg)
				}
				*to = append(*to, args[i])
			}
			continue
		}
		if c := command(cmds, arg); c != nil && !leaf {
			path = append(path, c.Name)
			cmds, local = c.Subcommands, c.Flags
			leaf = len(cmds) == 0
			continue
		}
		if !leaf {
			return nil, unknownCommand(path, arg, cmds)
		}
		rest = append(rest, arg)
	}
	out := append(append(globals, path...), flags...)
	if len(rest) > 0 {
		out = append(append(out, "--"), rest...)
	}
	return out, nil
}

func find(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		for _, n := range f.Names() {
			if n == name {
				return f
			}
		}
	}
	return nil
}

func command(cs []*cli.Command, name string) *cli.Command {
	for _, c := range cs {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func unknownFlag(arg, name string, sets ...[]cli.Flag) error {
	var known []string
	for _, set := range sets {
		for _, f := range set {
			for _, n := range f.Names() {
				if len(n) > 1 {
					known = append(known, n)
				}
			}
		}
	}
	if near := api.Nearest(name, known); near != "" {
		return usage("%s: no such flag: did you mean --%s?", arg, near)
	}
	return usage("%s: no such flag: see --help", arg)
}

func unknownCommand(path []string, arg string, cs []*cli.Command) error {
	var known []string
	for _, c := range cs {
		if !c.Hidden {
			known = append(known, c.Name)
		}
	}
	text := strings.Join(append(append([]string{"mesita"}, path...), arg), " ")
	if near := api.Nearest(arg, known); near != "" {
		return usage("%s: no such command: did you mean %s?", text, near)
	}
	return usage("%s: no such command: one of %s", text, strings.Join(known, ", "))
}

// example is the part of a command's help that shows its use.
func example(lines ...string) string {
	return "Examples:\n   " + strings.Join(lines, "\n   ")
}

// args checks the number of arguments of a command.
func args(c *cli.Context, least, most int, form string) error {
	if n := c.NArg(); n < least || most >= 0 && n > most {
		return usage("mesita %s: got %d arguments", form, n)
	}
	return nil
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && info.Name() != "null"
}
