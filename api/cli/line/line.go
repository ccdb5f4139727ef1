// Package line reads a command line as people write it, and says how commands
// are used: help, completion scripts, and the nearest word for a wrong one.
//
// It owns no command: api/cli hands it the tree of commands, of which it runs the one that is named.
package line

import (
	"slices"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/urfave/cli/v2"
)

// Line is a command line taken apart: the flag parser wants a command's flags
// before its arguments, and people do not.
type Line struct {
	globals []given  // flags of mesita itself
	path    []string // the command
	flags   []given  // of the command
	args    []string
	before  int          // how many args stood before --, if there was one
	dashed  bool         // there was
	Command *cli.Command // nil = mesita itself
	Help    bool         // it is asked for
}

// Global is the value that is given for a flag of mesita itself, or else.
func (l *Line) Global(name, or string) string {
	for _, g := range l.globals {
		if g.name() == name {
			or = g.value
		}
	}
	return or
}

// Parse refuses unknown flags and commands, and names the nearest that exists.
func Parse(root *cli.App, args []string) (*Line, error) {
	l := &Line{}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			l.before, l.dashed = len(l.args), true
			l.args = append(l.args, args[i+1:]...)
			return l, l.check(root)
		case len(arg) > 1 && arg[0] == '-' && !(l.complete() && isNumber(arg)):
			used, err := l.flag(root, args[i:])
			if err != nil {
				return nil, err
			}
			i += used - 1
		case !l.complete():
			if err := l.word(root, arg); err != nil {
				return nil, err
			}
		default:
			l.args = append(l.args, arg)
		}
	}
	return l, l.check(root)
}

func isNumber(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}

// complete reports whether the command has no sub-commands to choose from.
func (l *Line) complete() bool { return l.Command != nil && len(l.Command.Subcommands) == 0 }

func (l *Line) subcommands(root *cli.App) []*cli.Command {
	if l.Command == nil {
		return root.Commands
	}
	return l.Command.Subcommands
}

func (l *Line) localFlags() []cli.Flag {
	if l.Command == nil {
		return nil
	}
	return l.Command.Flags
}

func (l *Line) word(root *cli.App, arg string) error {
	if arg == "help" {
		l.Help = true
		return nil
	}
	known := l.subcommands(root)
	if help := root.Command("help"); l.Help && l.Command == nil && help != nil && help.Command(arg) != nil { // a topic, and no command
		l.Help, l.path, l.Command = false, []string{"help", arg}, help.Command(arg)
		return nil
	}
	for _, c := range known {
		if c.HasName(arg) {
			l.path, l.Command = append(l.path, c.Name), c
			return nil
		}
	}
	return unknownCommand(l.path, arg, known)
}

// flag takes the flag that args begin with, and tells how many words it is.
func (l *Line) flag(root *cli.App, args []string) (used int, err error) {
	name, value, inline := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
	f, to := find(l.localFlags(), name), &l.flags
	if f == nil {
		f, to = find(root.Flags, name), &l.globals
	}
	switch {
	case f == nil && (name == "help" || name == "h"):
		if help := root.Command("help"); l.Help && l.Command == nil && help != nil {
			l.path, l.Command = []string{"help"}, help
		}
		l.Help = true
		return 1, nil
	case f == nil && name == "version" && l.Command == nil:
		return 1, l.word(root, "version")
	case f == nil && l.bundle(args[0]):
		return 1, nil
	case f == nil:
		return 0, l.unknownFlag(args[0], name, root)
	}
	used = 1
	switch {
	case inline:
	case !takesValue(f):
		value = "true"
	case len(args) == 1:
		return 0, usage("%s needs a value; see --help", args[0])
	default:
		used, value = 2, args[1]
	}
	*to = append(*to, given{f, value})
	return used, nil
}

// bundle takes -aq for -a -q.
func (l *Line) bundle(arg string) bool {
	var out []given
	for _, r := range arg[1:] {
		f := find(l.localFlags(), string(r))
		if f == nil || takesValue(f) {
			return false
		}
		out = append(out, given{f, "true"})
	}
	l.flags = append(l.flags, out...)
	return true
}

func takesValue(f cli.Flag) bool {
	b, ok := f.(cli.DocGenerationFlag)
	return !ok || b.TakesValue()
}

// check finds what is missing, where the parser would print the whole help.
func (l *Line) check(root *cli.App) error {
	l.Help = l.Help || l.Command == nil && len(l.globals) == 0 || l.Command != nil && !l.complete() && l.Command.Action == nil
	switch {
	case l.Help:
		return nil
	case l.Command == nil:
		return usage("mesita: which command? See --help")
	}
	for _, f := range l.Command.Flags {
		need, ok := f.(cli.RequiredFlag)
		if ok && need.IsRequired() && !l.has(f) {
			return api.FieldErrorf(f.Names()[0], "is missing: give --%s; see --help", f.Names()[0])
		}
	}
	return l.misplaced()
}

// misplaced refuses a word before -- that would be taken for the program,
// although a command follows, and the first of that command where it would be taken for
// what has to stand before --. What follows may also be a flag of that program.
func (l *Line) misplaced() error {
	form := l.Command.ArgsUsage
	before, _, ok := strings.Cut(form, "-- ")
	n, named := len(strings.Fields(before)), l.named()
	if named && strings.HasPrefix(before, "NAME ") {
		n--
	}
	if words := strings.Fields(before); ok && l.dashed && l.before < n {
		return usage("mesita %s %s: what is after -- is the command, and %s stands before it", strings.Join(l.path, " "), form, words[len(words)-n+l.before])
	}
	if !ok || l.before <= n || l.before == len(l.args) || strings.HasPrefix(l.args[l.before], "-") {
		return nil
	}
	remedy := "write the whole command after --"
	if before == "" && !named && find(l.Command.Flags, "name") != nil {
		remedy += ", and the name of a job as --name " + l.args[n]
	}
	return usage("mesita %s %s: %q stands before --, and a command after it: %s", strings.Join(l.path, " "), form, l.args[n], remedy)
}

// named reports whether a name is given by its flag.
func (l *Line) named() bool {
	f := find(l.localFlags(), "name")
	return f != nil && l.has(f)
}

func (l *Line) has(f cli.Flag) bool {
	return slices.ContainsFunc(l.flags, func(g given) bool { return g.flag == f })
}

func find(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func (l *Line) unknownFlag(arg, name string, root *cli.App) error {
	if other := l.elsewhere(name, nil, root.Commands); other != "" {
		return usage("%s: `mesita %s` has no such flag, `mesita %s` has; flags of your own program come after --", arg, strings.Join(l.path, " "), other)
	}
	var known []string
	for _, set := range [][]cli.Flag{l.localFlags(), root.Flags} {
		for _, f := range set {
			for _, n := range f.Names() {
				if len(n) > 1 {
					known = append(known, n)
				}
			}
		}
	}
	if near := api.Nearest(name, known); near != "" && len(name) > 1 {
		return usage("%s: no such flag: did you mean --%s?", arg, near)
	}
	own := ""
	if l.Command != nil && strings.Contains(l.Command.ArgsUsage, "-- ") {
		own = "; flags of your own program come after --"
	}
	return usage("%s: no such flag: see --help%s", arg, own)
}

// elsewhere is another command of those that has such a flag and runs something, as this
// one does; "": none.
func (l *Line) elsewhere(name string, path []string, commands []*cli.Command) string {
	if !l.runs() || len(name) < 2 {
		return ""
	}
	for _, c := range commands {
		at := append(slices.Clone(path), c.Name)
		if strings.Contains(c.ArgsUsage, "-- ") && find(c.Flags, name) != nil {
			return strings.Join(at, " ")
		}
		if found := l.elsewhere(name, at, c.Subcommands); found != "" {
			return found
		}
	}
	return ""
}

func unknownCommand(path []string, arg string, cs []*cli.Command) error {
	var known []string
	for _, c := range cs {
		if !c.Hidden {
			known = append(known, c.Name)
		}
	}
	text := strings.Join(append(append([]string{"mesita"}, path...), arg), " ")
	if words := elsewhere(path, arg); words != "" {
		return usage("%s: no such command: %s", text, words)
	}
	if near := api.Nearest(arg, known); near != "" {
		return usage("%s: no such command: did you mean %s?", text, near)
	}
	return usage("%s: no such command: one of %s", text, strings.Join(known, ", "))
}

func usage(format string, args ...any) error { return api.Errorf(api.CodeInvalid, format, args...) }
