package cli

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/line"
	"github.com/mesita/mesita/api/cli/nodefile"
	"github.com/mesita/mesita/cluster"
	"github.com/urfave/cli/v2"
)

// setting is one of a node as it is now, and who says so.
type setting struct {
	Key    string   `json:"key"`
	Values []string `json:"values"`
	From   string   `json:"from"`
}

var settingColumns = []column[setting]{
	{"KEY", func(s setting) string { return s.Key }, false},
	{"VALUE", func(s setting) string { return or(strings.Join(s.Values, " "), "-") }, false},
	{"FROM", func(s setting) string { return s.From }, false},
}

func (a *app) configureNode(c *cli.Context) error {
	file, err := nodefile.Read(settingsPath(c.String("data")), settingNames())
	if err != nil {
		return err
	}
	words := c.Args().Slice()
	switch {
	case len(words) == 0:
		return list(a.out, c, settingsNow(c, file), func(s setting) string { return s.Key }, settingColumns)
	case words[0] == "set" && len(words) > 1:
		return a.changeSettings(c, file, words[1:], setOne)
	case words[0] == "unset" && len(words) > 1:
		return a.changeSettings(c, file, words[1:], unsetOne)
	}
	return usage("mesita node config: say nothing more, or set KEY=VALUE…, or unset KEY…; see --help")
}

// settingsNow are all settings: as the daemon has them that runs, else as the next start will.
func settingsNow(c *cli.Context, file *nodefile.File) (out []setting) {
	running := settingsOfDaemon(c, file)
	for _, f := range settings() {
		s := setting{Key: f.Names()[0], Values: []string{}, From: "default"}
		if d, ok := f.(cli.DocGenerationFlag); ok && d.GetValue() != "" {
			s.Values = []string{d.GetValue()}
		}
		if values, line := file.Values(s.Key); line >= 0 {
			s.Values, s.From = values, fmt.Sprintf("%s:%d", file.Path, line)
		}
		if values := running[s.Key]; values != nil {
			s.Values, s.From = values, "flag of the node that runs"
		}
		out = append(out, s)
	}
	return out
}

// socketOf is where the node listens that has the file, "" by default.
func socketOf(c *cli.Context, file *nodefile.File) string {
	socket := c.String("socket")
	if values, _ := file.Values("socket"); socket == "" && len(values) > 0 {
		socket = values[0]
	}
	return socket
}

// settingsOfDaemon are those on the command line of the daemon that runs with the data
// folder; nil if none does.
func settingsOfDaemon(c *cli.Context, file *nodefile.File) map[string][]string {
	pid, err := peerOf(c.Context, or(socketOf(c, file), api.DefaultSocket))
	if err != nil {
		return nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return nil
	}
	env := environOf(pid)
	found, words := map[string][]string{}, wordsOf(strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")[1:])
	if s := env["MESITA_SOCKET"]; s != "" {
		found["socket"] = []string{s}
	}
	names := settingNames()
	for _, w := range words {
		switch {
		case !slices.Contains(names, w.flag):
		case w.flag == "attr":
			found[w.flag] = append(found[w.flag], w.value())
		default:
			found[w.flag] = []string{or(w.value(), "true")}
		}
	}
	if own, err := filepath.Abs(c.String("data")); err != nil || own != dataOf(pid, words, env) {
		return nil
	}
	return found
}

// dataOf is the data folder of a daemon that was started with those words.
func dataOf(pid int, words []word, env map[string]string) string {
	dir := or(env["MESITA_DATA"], api.DefaultDataDir)
	for _, w := range words {
		if w.flag == "data" {
			dir = w.value()
		}
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil && !filepath.IsAbs(dir) {
		return filepath.Join(cwd, dir)
	}
	return filepath.Clean(dir)
}

// settingNamed is the flag of that name, if it is a setting.
func settingNamed(name string) (cli.Flag, error) {
	all := settings()
	if i := slices.IndexFunc(all, func(f cli.Flag) bool { return f.Names()[0] == name }); i >= 0 {
		return all[i], nil
	}
	if why := notSettings[name]; why != "" {
		return nil, usage("mesita node config: %s is not a setting: %s", name, why)
	}
	if near := api.Nearest(name, settingNames()); near != "" {
		return nil, usage("mesita node config: unknown setting %q: did you mean %s?", name, near)
	}
	return nil, usage("mesita node config: unknown setting %q: there are %s", name, strings.Join(settingNames(), ", "))
}

func setOne(file *nodefile.File, word string, again bool) (string, error) {
	key, value, ok := strings.Cut(word, "=")
	f, err := settingNamed(key)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", usage("mesita node config set: %q is not KEY=VALUE: mesita node config set %s=VALUE", word, key)
	}
	values := []string{value}
	if was, _ := file.Values(key); again && line.MayRepeat(f) {
		values = append(was, value)
	}
	file.Set(key, values, line.MayRepeat(f))
	return key, nil
}

func unsetOne(file *nodefile.File, word string, _ bool) (string, error) {
	if _, err := settingNamed(word); err != nil {
		return "", err
	}
	if !file.Unset(word) {
		return "", api.Errorf(api.CodeNotFound, "%s does not say %s: nothing is changed", file.Path, word)
	}
	return word, nil
}

// changeSettings makes all changes or none.
func (a *app) changeSettings(c *cli.Context, file *nodefile.File, words []string,
	change func(*nodefile.File, string, bool) (string, error)) error {
	if file == nil {
		file = &nodefile.File{Path: settingsPath(c.String("data")), Head: settingsHead}
	}
	var keys []string
	for _, w := range words {
		name, _, _ := strings.Cut(w, "=")
		key, err := change(file, w, slices.Contains(keys, name))
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	if err := a.checkSettings(c, file); err != nil {
		return err
	}
	if c.Bool("dry-run") {
		b, err := file.Bytes()
		a.progress("would write %s:", file.Path)
		_, werr := a.out.Write(b)
		return errors.Join(err, werr)
	}
	if err := os.MkdirAll(filepath.Dir(file.Path), 0o711); err != nil {
		return err
	}
	if err := file.Write(); err != nil {
		return err
	}
	running, socket := settingsOfDaemon(c, file), socketOf(c, file)
	for _, k := range keys {
		if running[k] != nil {
			a.progress("! the node runs with --%s, which goes before the file: `%s`, and `%s` without it", k, atSocket("node stop", socket), ofFolder("node start", c.String("data")))
		}
	}
	a.progress("%s is written; it counts from the next start on: `%s`, or systemctl restart mesita", file.Path, atSocket("node restart", socket))
	return nil
}

// checkSettings is what is wrong with the settings of a file as a whole.
func (a *app) checkSettings(c *cli.Context, file *nodefile.File) error {
	set := flag.NewFlagSet("settings", flag.ContinueOnError)
	for _, f := range append(agentFlags(), socketFlag()) {
		if err := f.Apply(set); err != nil {
			return err
		}
	}
	own := cli.NewContext(c.App, set, nil)
	if err := own.Set("data", c.String("data")); err != nil {
		return err
	}
	if err := (&configured{file: file}).take(own); err != nil {
		return err
	}
	cfg, err := a.agentConfig(own)
	if err != nil {
		return err
	}
	_, err = cluster.New(cfg)
	return err
}
