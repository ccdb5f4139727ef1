package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
	"github.com/mesita/mesita/cluster"
	"github.com/urfave/cli/v2"
)

// This file starts a node in the background, and passes on what it says.

// background starts this program again as a daemon, waits until it is ready
// and passes on what it says.
func (a *app) background(c *cli.Context, cfg cluster.Config, conf *configured) error {
	if _, err := cluster.New(cfg); err != nil { // refuse at once what the daemon would refuse
		return err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o711); err != nil {
		return err
	}
	path := filepath.Join(cfg.DataDir, "mesita.log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	at, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	undo := a.keepSettings(c, conf)
	cmd := exec.Command(exe, daemonArgs(os.Args[1:], conf.same)...)
	cmd.Env = append(os.Environ(), behindEnv+"=1")
	if cfg.Token != "" {
		cmd.Env = append(cmd.Env, joinTokenEnv+"="+cfg.Token)
	}
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err = cmd.Start(); err == nil {
		err = a.awaitDaemon(c.Context, cfg, cmd, out, daemonLog{path, at})
	}
	if err != nil {
		undo()
	}
	return err
}

// daemonArgs are those of the command with --foreground, without what node.yaml says
// as well, so that what is changed there counts at the next start, and without the join
// token: everybody may read a process's arguments.
func daemonArgs(args []string, inFile map[string]bool) (out []string) {
	words := wordsOf(args)
	for i, w := range words {
		if w.flag == "" && w.text[0] == "--" {
			words = slices.Insert(words, i, word{"foreground", []string{"--foreground"}})
			break
		}
		if i == len(words)-1 {
			words = append(words, word{"foreground", []string{"--foreground"}})
		}
	}
	for _, w := range words {
		if w.flag != "token" && !inFile[w.flag] {
			out = append(out, w.text...)
		}
	}
	return out
}

// word is a flag with its value, or what is not a flag, as it was typed.
type word struct {
	flag string
	text []string
}

// value is that of a flag, "" if it has none.
func (w word) value() string {
	if _, v, ok := strings.Cut(w.text[0], "="); ok || len(w.text) == 1 {
		return v
	}
	return w.text[1]
}

// wordsOf takes a command line of node start or node join apart.
func wordsOf(args []string) (out []word) {
	bare := map[string]bool{"rejoin": true} // no value follows
	for _, f := range append(agentFlags(), globalFlags()...) {
		for _, name := range f.Names() {
			bare[name] = isSwitch(f)
		}
	}
	for i := 0; i < len(args); i++ {
		name := strings.TrimLeft(args[i], "-")
		switch {
		case args[i] == "--":
			return append(out, word{"", args[i:]})
		case name == args[i]: // a command, or where to join
			out = append(out, word{"", args[i : i+1]})
			continue
		}
		name, _, whole := strings.Cut(name, "=")
		end := i + 1
		if !whole && !bare[name] {
			end = min(i+2, len(args))
		}
		out = append(out, word{name, args[i:end]})
		i = end - 1
	}
	return out
}

// slowStart is how often it is looked at what a start waits for.
const slowStart = 5 * time.Second

func (a *app) awaitDaemon(ctx context.Context, cfg cluster.Config, cmd *exec.Cmd, out io.Reader, log daemonLog) error {
	line := make(chan string, 1)
	go func() {
		s, _ := bufio.NewReader(out).ReadString('\n') // "" when the daemon ended
		line <- s
	}()
	slow := time.NewTicker(slowStart)
	defer slow.Stop()
	told := ""
	for {
		select {
		case s := <-line:
			if s == "" {
				return a.daemonEnded(cmd.Wait(), log)
			}
			var w welcome
			if err := json.Unmarshal([]byte(s), &w); err != nil {
				return fmt.Errorf("the daemon runs (pid %d), and says what was not understood: %w", cmd.Process.Pid, err)
			}
			a.welcome(ctx, w)
			return cmd.Process.Release()
		case <-slow.C:
			why := waitsFor(ctx, cfg, log)
			if why == told {
				continue
			}
			fmt.Fprint(a.err, why)
			if told == "" {
				fmt.Fprintf(a.err, "! waiting; the daemon runs (pid %d, Ctrl-C leaves it running), its log is %s\n", cmd.Process.Pid, log.path)
			}
			told = why
		case <-ctx.Done():
			fmt.Fprintf(a.err, "detached; the daemon keeps running (pid %d), its log is %s\n", cmd.Process.Pid, log.path)
			return nil
		}
	}
}

// daemonEnded passes on why a daemon ended before it was ready. The log lacks
// it if the disk is full, or if the daemon was killed.
func (a *app) daemonEnded(err error, log daemonLog) error {
	said := log.said()
	fmt.Fprint(a.err, lastError(said))
	var exit *exec.ExitError
	if strings.Contains(said, errorMark) && errors.As(err, &exit) {
		return exitError(exit.ExitCode())
	}
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("the daemon ended before it was ready (%w), and could not write why to %s: check whether its disk is full", err, log.path)
}

// waitsFor is why a node is not ready, as it answers itself, or the errors that
// it logged while it answers nothing.
func waitsFor(ctx context.Context, cfg cluster.Config, log daemonLog) string {
	if cl, err := client.New(client.Config{Socket: cmp.Or(cfg.Socket, api.DefaultSocket), Patience: -1}); err == nil {
		ctx, cancel := context.WithTimeout(ctx, slowStart/2)
		defer cancel()
		if h, _, err := cl.Standing(ctx); err == nil && h.Reason != "" {
			why := "! " + h.Reason + "\n"
			if strings.HasPrefix(h.Reason, api.NoLeader) && len(cfg.Seeds) == 0 {
				why += "! if the other nodes have other addresses now: stop it, and `" + ofFolder("node start", cfg.DataDir) + " --seed ADDRESS` of one that runs\n"
			}
			return why
		}
	}
	return cmp.Or(troubles(log.said()), "! it does not answer yet\n")
}

// daemonLog is where a daemon's log begins in its file.
type daemonLog struct {
	path string
	at   int64
}

// said is the beginning of the log, as far as it can be read.
func (l daemonLog) said() string {
	f, err := os.Open(l.path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, 64<<10)
	n, _ := f.ReadAt(b, l.at)
	return string(b[:n])
}

// human is the part of a daemon's log that greet wrote.
func human(log string) string {
	var out strings.Builder
	for l := range strings.Lines(log) {
		if !strings.HasPrefix(l, "time=") && !strings.HasPrefix(l, "{") {
			out.WriteString(l)
		}
	}
	return out.String()
}

// troubles are the errors that a daemon logged, each once, in a line of its own.
func troubles(log string) string {
	var out strings.Builder
	seen := map[string]bool{}
	for l := range strings.Lines(log) {
		var e struct{ Level, Err string }
		if _, after, ok := strings.Cut(l, " err="); ok && strings.Contains(l, " level=ERROR ") {
			e.Level = "ERROR"
			if q, err := strconv.QuotedPrefix(after); err == nil {
				e.Err, _ = strconv.Unquote(q) // which QuotedPrefix made sure of
			} else {
				e.Err, _, _ = strings.Cut(strings.TrimSpace(after), " ")
			}
		} else if json.Unmarshal([]byte(l), &e) != nil {
			continue
		}
		if e.Level == "ERROR" && e.Err != "" && !seen[e.Err] {
			seen[e.Err] = true
			out.WriteString("! " + e.Err + "\n")
		}
	}
	return out.String()
}

// lastError is what a daemon said before it ended.
func lastError(log string) string {
	if s := human(log); s != "" {
		return s
	}
	return log
}
