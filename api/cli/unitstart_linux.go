package cli

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/urfave/cli/v2"
)

// unitWait is how long the node is waited for that systemd starts.
const unitWait = time.Minute

// startUnit has systemd take over a node that runs, or says how the unit is started.
func (a *app) startUnit(c *cli.Context, in *install) error {
	begin := "systemd-sysusers && systemctl daemon-reload && "
	switch {
	case !in.runs:
		a.progress("start it with: %ssystemctl enable --now mesita", begin)
		return nil
	case !systemdRuns(c.Context):
		a.progress("systemd does not run here, so the node runs on as it is; where it does:\n  %s%s && systemctl enable --now mesita",
			begin, atSocket("node stop", c.String("socket")))
		return nil
	}
	if values, _ := in.file.Values("socket"); len(values) > 0 && c.String("socket") == "" {
		if err := c.Set("socket", values[0]); err != nil {
			return err
		}
	}
	if pid, err := peerOf(c.Context, or(c.String("socket"), api.DefaultSocket)); err == nil && unitOf(pid) != "" {
		a.progress("systemd runs this node already, as %s: systemctl daemon-reload && systemctl restart mesita", unitOf(pid))
		return nil
	}
	d, err := a.daemonHere(c)
	if err != nil {
		return err
	}
	defer d.close()
	again, err := startAgain(d.pid)
	if err != nil {
		return err
	}
	for _, do := range [][]string{{"systemd-sysusers"}, {"systemctl", "daemon-reload"}, {"systemctl", "enable", "mesita"}} {
		if err := runTool(c.Context, do...); err != nil {
			return err
		}
	}
	n := d.node(c.Context)
	if err := d.stop(c.Context, stopTime); err != nil {
		return err
	}
	err = runTool(c.Context, "systemctl", "start", "mesita")
	if err == nil {
		err = awaitUnit(c.Context, d.socket)
	}
	if err == nil {
		a.progress("systemd runs %s now%s", d.called(n), keptRunning(n))
		return nil
	}
	a.progress("! systemd did not start it, so it is started as before: %v", err)
	stop := runTool(context.WithoutCancel(c.Context), "systemctl", "disable", "--now", "mesita") // else both would want the folder
	again.Stdout, again.Stderr = a.out, a.err
	return errors.Join(api.Errorf(api.CodeFailed, "systemd did not start the node: journalctl -u mesita says why"), stop, again.Run())
}

// systemdRuns reports whether systemd is there and manages this machine.
func systemdRuns(ctx context.Context) bool {
	out, _ := exec.CommandContext(ctx, "systemctl", "is-system-running").Output() // it fails for a machine with a failed unit
	state := strings.TrimSpace(string(out))
	return state != "" && state != "offline" && state != "unknown"
}

func runTool(ctx context.Context, words ...string) error {
	out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// awaitUnit waits until a node answers that systemd has started.
func awaitUnit(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, unitWait, api.Errorf(api.CodeTimeout, "it does not answer after %s", unitWait))
	defer cancel()
	for {
		if pid, err := peerOf(ctx, socket); err == nil && pid > 0 {
			return nil
		}
		if !backoff.Pause(ctx, 100*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}
