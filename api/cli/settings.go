package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/line"
	"github.com/mesita/mesita/api/cli/nodefile"
	"github.com/urfave/cli/v2"
)

// The settings of a node are the flags of its start, and node.yaml in its data folder
// holds those that were given at the first: a flag goes before the file, and the file
// before the default. What settings there are follows from the flags.

// notSettings are the flags of node start and node join that are not in the file.
var notSettings = map[string]string{
	"data":       "the file is in that folder",
	"name":       "the node remembers it, and it does not change",
	"voter-only": "the node remembers it, and it does not change",
	"foreground": "is about one start",
	"seed":       "is about one start",
	"rejoin":     "is about one start",
	"token":      "is a secret, and about one start",
	"token-file": "is about one start",
}

// settings are the flags that node.yaml may hold, and the name of each is its key there.
func settings() []cli.Flag {
	own := slices.DeleteFunc(agentFlags(), func(f cli.Flag) bool { return notSettings[f.Names()[0]] != "" })
	return append(own, socketFlag())
}

func settingNames() (names []string) {
	for _, f := range settings() {
		names = append(names, f.Names()[0])
	}
	return names
}

func isSwitch(f cli.Flag) bool {
	_, ok := f.(*cli.BoolFlag)
	return ok
}

// given are the values of a flag, as they are typed.
func given(c *cli.Context, f cli.Flag) []string {
	if line.MayRepeat(f) {
		return c.StringSlice(f.Names()[0])
	}
	return []string{fmt.Sprint(c.Value(f.Names()[0]))}
}

const settingsHead = "# Settings of this node, used where its command line says nothing: see `mesita node config`."

// configured is how a node is to start: what was typed, and node.yaml.
type configured struct {
	file  *nodefile.File  // nil = there is none yet
	typed map[string]bool // settings that were said on the command line or by the environment
	same  map[string]bool // those of them that the file has as well
}

func settingsPath(dir string) string { return filepath.Join(dir, "node.yaml") }

// configure has settings of the file take effect that were not typed.
func configure(c *cli.Context) (*configured, error) {
	file, err := nodefile.Read(settingsPath(c.String("data")), settingNames())
	if err != nil {
		return nil, err
	}
	conf := &configured{file, map[string]bool{}, map[string]bool{}}
	for _, f := range settings() {
		if name := f.Names()[0]; c.IsSet(name) {
			values, _ := file.Values(name)
			conf.typed[name], conf.same[name] = true, slices.Equal(values, given(c, f))
		}
	}
	return conf, conf.located(conf.take(c))
}

// take has the settings of the file be those of a command line, unless they are there.
func (conf *configured) take(c *cli.Context) error {
	for _, f := range settings() {
		name := f.Names()[0]
		values, at := conf.file.Values(name)
		switch {
		case at < 0 || conf.typed[name]:
			continue
		case len(values) != 1 && !line.MayRepeat(f):
			return api.FieldErrorf(name, "takes one value")
		}
		value := line.Words(values)
		if !line.MayRepeat(f) {
			value = values[0]
		}
		if err := c.Set(name, value); err != nil {
			return api.FieldErrorf(name, "%q is not what --%s takes: %s", value, name, wants(f))
		}
	}
	return nil
}

// wants is what kind of value a flag takes.
func wants(f cli.Flag) string {
	switch f.(type) {
	case *cli.BoolFlag:
		return "write true or false"
	case *cli.Float64Flag:
		return "write a number"
	default:
		return "see mesita node start --help"
	}
}

// located says of an error about a setting that is in the file where that is.
func (conf *configured) located(err error) error {
	var e *api.Error
	if conf == nil || !errors.As(err, &e) || conf.typed[e.Field] {
		return err
	}
	_, line := conf.file.Values(e.Field)
	if line < 0 {
		return err
	}
	out := *e
	out.Field, out.Message = fmt.Sprintf("%s:%d", conf.file.Path, line), e.Field+": "+e.Message
	return &out
}

// firstFile is what node.yaml is to hold after a first start: what was typed.
func (conf *configured) firstFile(c *cli.Context) *nodefile.File {
	file := &nodefile.File{Path: settingsPath(c.String("data")), Head: settingsHead}
	for _, f := range settings() {
		if name := f.Names()[0]; conf.typed[name] {
			file.Set(name, given(c, f), line.MayRepeat(f))
		}
	}
	return file
}

// keep writes node.yaml at a first start, and returns how to take that back; of a later
// start it says what holds for that start alone.
func (a *app) keepSettings(c *cli.Context, conf *configured) (undo func()) {
	undo = func() {}
	if conf.file != nil {
		for _, name := range settingNames() {
			if conf.typed[name] && !conf.same[name] {
				a.progress("! --%s is for this start only, as %s says otherwise: `mesita node config set %s=…` keeps it", name, conf.file.Path, name)
			}
		}
		return undo
	}
	file := conf.firstFile(c)
	err := os.MkdirAll(c.String("data"), 0o711)
	if err == nil {
		err = file.Write()
	}
	if err != nil {
		a.progress("! the settings are not kept for the next start: %v", err)
		return undo
	}
	conf.file, conf.same = file, conf.typed
	return func() {
		if err := os.Remove(file.Path); err != nil {
			a.progress("! %v", err)
		}
	}
}
