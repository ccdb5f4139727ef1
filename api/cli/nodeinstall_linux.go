package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/line"
	"github.com/mesita/mesita/api/cli/nodefile"
	"github.com/urfave/cli/v2"
)

const unitText = `[Unit]
Description=mesita node
Documentation=https://github.com/mesita/mesita
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
ExecStart=%s
# Tasks have a parent of their own and outlive the daemon. It leaves this unit's
# group for mesita-keeper.slice, and tasks are in mesita.slice.
KillMode=process
Delegate=yes
Restart=always
RestartSec=1
# Another node runs here already, or has the port: to try again changes nothing.
RestartPreventExitStatus=5
TimeoutStopSec=30
LimitNOFILE=1048576
TasksMax=infinity

[Install]
WantedBy=multi-user.target
`

// usersText has systemd make the user and group that tasks are called by which
// have a user of their own. All of them are in the group.
const usersText = "# made by mesita node install: the group of tasks that no user is given for\n" +
	"u " + api.TaskUser + " - \"a task of mesita\"\n"

func (a *app) installNode(c *cli.Context) error {
	if err := args(c, 0, 0, "node install"); err != nil {
		return err
	}
	in, err := a.planInstall(c)
	if err != nil {
		return err
	}
	if c.Bool("print") {
		return a.printInstall(in)
	}
	if err := in.write(); err != nil {
		return err
	}
	fmt.Fprintln(a.out, in.path("/etc/systemd/system/"+unitName))
	return a.startUnit(c, in)
}

const unitName = "mesita.service"

// install is what is written, and where.
type install struct {
	root string // "" is the machine's own
	unit string
	file *nodefile.File
	runs bool // a daemon that was started by hand has this data folder
}

func (in *install) path(p string) string { return in.root + p }

func (a *app) planInstall(c *cli.Context) (*install, error) {
	data, err := filepath.Abs(c.String("data"))
	if err != nil {
		return nil, api.FieldErrorf("data", "%v", err)
	}
	in := &install{root: strings.TrimSuffix(c.String("root"), "/")}
	path := in.path(settingsPath(data))
	if in.file, err = nodefile.Read(path, settingNames()); err != nil {
		return nil, err
	}
	var running map[string][]string
	if in.root == "" {
		running = settingsOfDaemon(c, in.file)
		in.runs = running != nil
	}
	if in.file == nil {
		in.file = &nodefile.File{Path: path, Head: settingsHead}
	}
	for _, f := range settings() {
		name := f.Names()[0]
		if c.IsSet(name) {
			in.file.Set(name, given(c, f), line.MayRepeat(f))
		} else if running[name] != nil {
			in.file.Set(name, running[name], line.MayRepeat(f))
		}
	}
	if err := a.checkSettings(c, in.file); err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	in.unit = fmt.Sprintf(unitText, strings.Join(unitCommand(c, exe, data), " "))
	return in, nil
}

// unitCommand is the start command with what is not in node.yaml.
func unitCommand(c *cli.Context, exe, data string) []string {
	line := []string{exe, "node", "start", "--foreground"}
	if data != api.DefaultDataDir {
		line = append(line, unitQuote("--data="+data))
	}
	if c.IsSet("name") {
		line = append(line, unitQuote("--name="+c.String("name")))
	}
	if c.Bool("voter-only") {
		line = append(line, "--voter-only")
	}
	return line
}

func unitQuote(s string) string {
	s = strings.ReplaceAll(s, "%", "%%")
	if strings.ContainsAny(s, " \t\"'\\$") {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `$$`).Replace(s) + `"`
	}
	return s
}

func (a *app) printInstall(in *install) error {
	settings, err := in.file.Bytes()
	if err != nil {
		return err
	}
	a.progress("would write %s:\n%s", in.file.Path, strings.TrimSuffix(string(settings), "\n"))
	if in.runs {
		a.progress("would stop the daemon that runs, and start the unit")
	}
	_, err = fmt.Fprint(a.out, in.unit)
	return err
}

func (in *install) write() error {
	if err := os.MkdirAll(filepath.Dir(in.file.Path), 0o711); err != nil {
		return err
	}
	if err := in.file.Write(); err != nil {
		return err
	}
	for path, text := range map[string]string{"/etc/systemd/system/" + unitName: in.unit, "/etc/sysusers.d/mesita.conf": usersText} {
		if err := os.MkdirAll(filepath.Dir(in.path(path)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(in.path(path), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
