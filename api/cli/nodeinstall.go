package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster"
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
TimeoutStopSec=30
LimitNOFILE=1048576
TasksMax=infinity

[Install]
WantedBy=multi-user.target
`

// usersText has systemd make the user and group that tasks are called by which
// have a user of their own. All of them are in the group.
const usersText = "# made by mesita node install: the group of tasks that no user is given for\nu " + api.TaskUser + " - \"a task of mesita\"\n"

func (a *app) nodeInstall() *cli.Command {
	return &cli.Command{
		Name: "install", Usage: "write the systemd unit that runs this node, and the user mesita-task", Description: example("mesita node install && systemd-sysusers && systemctl daemon-reload && systemctl enable --now mesita", "mesita node install --print --listen 10.0.0.11:5050"),
		Flags: append(agentFlags(),
			&cli.BoolFlag{Name: "print", Aliases: []string{"dry-run"}, Usage: "print the unit instead"},
			&cli.StringFlag{Name: "root", Value: "/", Usage: "write below this `DIR`"},
		),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "node install"); err != nil {
				return err
			}
			cfg, err := a.agentConfig(c)
			if err != nil {
				return err
			}
			if _, err := cluster.New(cfg); err != nil {
				return err
			}
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			return a.writeUnit(c, fmt.Sprintf(unitText, strings.Join(unitCommand(c, exe), " ")))
		},
	}
}

// unitCommand is the start command with the flags that were given.
func unitCommand(c *cli.Context, exe string) []string {
	line := []string{exe, "node", "start", "--foreground"}
	for _, f := range agentFlags() {
		name := f.Names()[0]
		if !c.IsSet(name) || name == "foreground" {
			continue
		}
		if _, ok := f.(*cli.StringSliceFlag); ok {
			for _, v := range c.StringSlice(name) {
				line = append(line, "--"+name, unitQuote(v))
			}
			continue
		}
		line = append(line, "--"+name+"="+unitQuote(fmt.Sprint(c.Value(name))))
	}
	if s := c.String("socket"); s != "" {
		line = append(line, "--socket="+unitQuote(s))
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

func (a *app) writeUnit(c *cli.Context, unit string) error {
	if c.Bool("print") {
		_, err := fmt.Fprint(a.out, unit)
		return err
	}
	dir := strings.TrimSuffix(c.String("root"), "/") + "/etc/systemd/system"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(dir+"/mesita.service", []byte(unit), 0o644); err != nil {
		return err
	}
	users := strings.TrimSuffix(c.String("root"), "/") + "/etc/sysusers.d"
	if err := os.MkdirAll(users, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(users+"/mesita.conf", []byte(usersText), 0o644); err != nil {
		return err
	}
	fmt.Fprintln(a.out, dir+"/mesita.service")
	a.progress("start it with: systemd-sysusers && systemctl daemon-reload && systemctl enable --now mesita")
	return nil
}
