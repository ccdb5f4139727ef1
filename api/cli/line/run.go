package line

import (
	"context"
	"flag"
	"io"

	"github.com/mesita/mesita/api"
	"github.com/urfave/cli/v2"
)

// given is a flag of a line, with its value.
type given struct {
	flag  cli.Flag
	value string
}

func (g given) name() string { return g.flag.Names()[0] }

// Run runs the command of the line with its flags and arguments.
//
// The library could do so itself, but its Run also prints help, from templates that call
// methods by their names. The linker then keeps every exported method of every type in
// the program, which was a tenth of it.
func (l *Line) Run(ctx context.Context, root *cli.App) error {
	c, err := l.Context(ctx, root)
	if err != nil {
		return err
	}
	return l.Command.Action(c)
}

// Context is what the command of the line would be run with. An error is about a flag, by
// its name.
func (l *Line) Context(ctx context.Context, root *cli.App) (*cli.Context, error) {
	all, err := bind(root, &cli.Context{Context: ctx}, root.Flags, l.globals, nil)
	if err != nil {
		return nil, err
	}
	c, err := bind(root, all, l.Command.Flags, l.flags, l.args)
	if err != nil {
		return nil, err
	}
	c.Command = l.Command
	return c, nil
}

func bind(root *cli.App, parent *cli.Context, flags []cli.Flag, values []given, args []string) (*cli.Context, error) {
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, f := range flags {
		if err := f.Apply(set); err != nil { // a variable of the environment
			return nil, usage("%v", err)
		}
	}
	words := map[string][]string{}
	for _, g := range values {
		value := g.value
		if MayRepeat(g.flag) {
			words[g.name()] = append(words[g.name()], value)
			value = Words(words[g.name()])
		}
		if err := set.Set(g.name(), value); err != nil {
			return nil, g.refused(err)
		}
	}
	if err := set.Parse(append([]string{"--"}, args...)); err != nil {
		return nil, usage("%v", err)
	}
	return cli.NewContext(root, set, parent), nil
}

// MayRepeat reports whether a flag may be given more than once.
func MayRepeat(f cli.Flag) bool {
	_, ok := f.(*cli.StringSliceFlag)
	return ok
}

// Words is the value by which a flag that may be repeated is set to these, and only to
// these: the library would take a comma in one for the end of it.
func Words(values []string) string { return cli.NewStringSlice(values...).Serialize() }

// refused is an error of the library about a value, in this program's words.
func (g given) refused(err error) error {
	_, isSwitch := g.flag.(*cli.BoolFlag)
	_, isReal := g.flag.(*cli.Float64Flag)
	switch {
	case isSwitch:
		return api.FieldErrorf(g.name(), "%q is neither true nor false: write it without a value for true", g.value)
	case err.Error() == "parse error" && !isReal:
		return api.FieldErrorf(g.name(), "%q is not a whole number", g.value)
	case err.Error() == "parse error":
		return api.FieldErrorf(g.name(), "%q is not a number", g.value)
	}
	return api.FieldErrorf(g.name(), "%v", err)
}
