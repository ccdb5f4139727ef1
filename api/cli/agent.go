package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
	"github.com/mesita/mesita/cluster"
	"github.com/urfave/cli/v2"
)

// This file is the only one that knows how a node is configured by flags and
// environment.

func agentFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the node, unique in the cluster (default: the host name)"},
		&cli.StringFlag{Name: "data", EnvVars: []string{"MESITA_DATA"}, Value: cluster.DefaultDataDir, Usage: "data `DIR`"},
		&cli.StringFlag{Name: "listen", Value: fmt.Sprintf("0.0.0.0:%d", cluster.DefaultPort), Usage: "`IP:PORT` of the one port, TCP and UDP"},
		&cli.StringFlag{Name: "advertise", Usage: "`IP:PORT` that the others reach (default: found from --listen)"},
		&cli.StringFlag{Name: "http", Usage: "plain HTTP on loopback, `127.0.0.1:PORT`; a token is needed"},
		&cli.StringSliceFlag{Name: "attr", Usage: "attribute `K=V` for constraints; may be repeated"},
		&cli.StringFlag{Name: "resources", Usage: "what the node offers, `'cpus=4,mem=8GiB,…'` (default: what the machine has)"},
		memOvercommitFlag(),
		diskReserveFlag(),
		&cli.BoolFlag{Name: "allow-root", Usage: "users' tasks may be root here, or any other user, if their partition lets them"},
		&cli.BoolFlag{Name: "voter-only", Usage: "vote, and run no tasks"},
		&cli.BoolFlag{Name: "foreground", Usage: "stay in the foreground"},
		&cli.StringFlag{Name: "slice", Value: "mesita.slice", Usage: "top cgroup `NAME` of this node's tasks"},
		&cli.StringFlag{Name: "cgroup-root", Usage: "`DIR` where cgroup v2 is mounted (default: found)"},
		&cli.Float64Flag{Name: "raft-multiplier", Value: 1, Usage: "`FACTOR` on the election timeouts, for slow networks and disks"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "`FORMAT` of the log on standard error: text or json"},
		&cli.StringFlag{Name: "log-level", Value: "info", Usage: "`LEVEL`: debug, info, warn or error"},
	}
}

func memOvercommitFlag() cli.Flag {
	return &cli.StringFlag{Name: "mem-overcommit", Value: "2", Usage: "most of all --mem-limit together, in `TIMES` its memory, 1 to 10"}
}

func diskReserveFlag() cli.Flag {
	return &cli.StringFlag{Name: "disk-reserve", Usage: "`SIZE` of the data folder's disk that tasks leave free (default: 1GiB, or 5 % of a small disk)"}
}

func (a *app) agentConfig(c *cli.Context) (cluster.Config, error) {
	cfg := cluster.Config{
		Name: c.String("name"), DataDir: c.String("data"), Listen: c.String("listen"), Advertise: c.String("advertise"), HTTP: c.String("http"),
		Socket: c.String("socket"), Resources: c.String("resources"), MemOvercommit: c.String("mem-overcommit"), DiskReserve: c.String("disk-reserve"), AllowRoot: c.Bool("allow-root"), VoterOnly: c.Bool("voter-only"), Slice: c.String("slice"),
		CgroupRoot: c.String("cgroup-root"), RaftMultiplier: c.Float64("raft-multiplier"), Version: Version, Attrs: map[string]string{},
	}
	for _, kv := range c.StringSlice("attr") {
		k, v, ok := strings.Cut(kv, "=")
		if !ok {
			return cfg, api.FieldErrorf("attr", "%q is not K=V", kv)
		}
		cfg.Attrs[k] = v
	}
	log, err := a.logger(c)
	cfg.Log = log
	return cfg, err
}

func (a *app) logger(c *cli.Context) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return nil, api.FieldErrorf("log-level", "%q is none of debug, info, warn, error", c.String("log-level"))
	}
	o := &slog.HandlerOptions{Level: level}
	switch c.String("log-format") {
	case "text":
		return slog.New(slog.NewTextHandler(a.err, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(a.err, o)), nil
	}
	return nil, api.FieldErrorf("log-format", "%q is neither text nor json", c.String("log-format"))
}

// runAgent runs a node here, or starts itself in the background.
func (a *app) runAgent(c *cli.Context, cfg cluster.Config) error {
	if c.Bool("foreground") || os.Getenv("INVOCATION_ID") != "" {
		return a.foreground(c.Context, cfg)
	}
	return a.background(c.Context, cfg)
}

func (a *app) foreground(ctx context.Context, cfg cluster.Config) error {
	agent, err := cluster.New(cfg)
	if err != nil {
		return err
	}
	outliveReaders()
	dropIdle(dropProgram)
	begin := time.Now()
	return agent.Run(ctx, func(r cluster.Ready) {
		a.greet(ctx, r, time.Since(begin)) // first: who started this in the background reads it once it is ready
		fmt.Fprintf(a.out, "ready name=%s api=%s socket=%s http=%s\n", r.Name, r.API, r.Socket, r.HTTP)
	})
}

// outliveReaders lets a node continue when nobody reads what it prints any more:
// whoever started it may be gone by the time that it is ready. The signal is
// caught, not ignored, which tasks would inherit.
func outliveReaders() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// greet tells a person what was done and what comes next.
func (a *app) greet(ctx context.Context, r cluster.Ready, took time.Duration) {
	for _, w := range r.Warnings {
		fmt.Fprintf(a.err, "! %s\n", w)
	}
	fmt.Fprintf(a.err, "✓ %s   (%.1f s)\n", strings.Join(r.Steps, " · ✓ "), took.Seconds())
	fmt.Fprintf(a.err, "  cluster  %s     api  %s     metrics  %s/metrics\n", r.ClusterName, r.API, r.API)
	fmt.Fprintf(a.err, "  CA       %s     as in: curl --cacert %s %s/v1/health\n", r.CA, r.CA, r.API)
	if r.HTTP != "" {
		fmt.Fprintf(a.err, "  http     %s\n", r.HTTP)
	}
	if r.Made {
		fmt.Fprint(a.err, a.howToAdd(ctx, addLater, r.Socket))
	}
}

// addLater is how to add a machine where nobody is to read a token: what is
// printed is kept, as in the journal of a unit.
const addLater = "Add a machine: `mesita node token` on this one prints the command, with a token\n"

// howToAdd is a text in which a terminal is shown the first token in place of how
// to get one.
func (a *app) howToAdd(ctx context.Context, text, socket string) string {
	before, ok := strings.CutSuffix(text, addLater)
	if !ok || !isTerminal(a.err) {
		return text
	}
	cl, err := client.New(client.Config{Socket: socket})
	if err != nil {
		return text
	}
	ctx, cancel := context.WithTimeout(ctx, tokenWait)
	defer cancel()
	g, err := cl.CreateToken(ctx, api.TokenRequest{Kind: api.TokenJoin, Name: "first", Voter: true, MaxUses: firstUses})
	if err != nil {
		return text
	}
	nodes, err := cl.Nodes(ctx, false)
	if err != nil || len(nodes) == 0 {
		return text
	}
	return fmt.Sprintf("%sAdd a machine (token valid 24 h, for %d machines):\n  sudo mesita node join %s --token %s\n", before, firstUses, joinAddr(nodes[0].Addr), g.Secret)
}

const (
	firstUses = 10              // machines that may join with the first token
	tokenWait = 5 * time.Second // for the node to make it
)

// joinAddr is how the address of a node is given to node join.
func joinAddr(addr string) string {
	return strings.TrimSuffix(addr, fmt.Sprintf(":%d", cluster.DefaultPort))
}

// background starts this program again as a daemon, waits until it is ready
// and passes on what it says.
func (a *app) background(ctx context.Context, cfg cluster.Config) error {
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
	cmd := exec.Command(exe, daemonArgs(os.Args[1:])...)
	cmd.Env = os.Environ()
	if cfg.Token != "" {
		cmd.Env = append(cmd.Env, joinTokenEnv+"="+cfg.Token)
	}
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	return a.awaitDaemon(ctx, cfg, cmd, out, daemonLog{path, at})
}

// joinTokenEnv hands the join token over.
const joinTokenEnv = "MESITA_JOIN_TOKEN"

// daemonArgs are those of the command with --foreground, and without the join
// token: everybody may read a process's arguments.
func daemonArgs(args []string) []string {
	end := indexOf(args, "--")
	if end < 0 {
		end = len(args)
	}
	var out []string
	for i := 0; i < end; i++ {
		switch {
		case args[i] == "--token" || args[i] == "-token":
			i++ // its value
		case strings.HasPrefix(args[i], "--token=") || strings.HasPrefix(args[i], "-token="):
		default:
			out = append(out, args[i])
		}
	}
	return append(append(out, "--foreground"), args[end:]...)
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
			fmt.Fprint(a.out, s)
			fmt.Fprint(a.err, a.howToAdd(ctx, human(log.said()), cmp.Or(cfg.Socket, defaultSocket)))
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

// errorMark begins the line with which a program of ours says why it failed.
const errorMark = "error: "

// waitsFor is why a node is not ready, as it answers itself, or the errors that
// it logged while it answers nothing.
func waitsFor(ctx context.Context, cfg cluster.Config, log daemonLog) string {
	if cl, err := client.New(client.Config{Socket: cmp.Or(cfg.Socket, defaultSocket), Patience: -1}); err == nil {
		ctx, cancel := context.WithTimeout(ctx, slowStart/2)
		defer cancel()
		if h, _, err := cl.Standing(ctx); err == nil && h.Reason != "" {
			why := "! " + h.Reason + "\n"
			if strings.HasPrefix(h.Reason, api.NoLeader) && len(cfg.Seeds) == 0 {
				why += "! if the other nodes have other addresses now: stop it, and `mesita node start --seed ADDRESS` of one that runs\n"
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

func indexOf(list []string, s string) int {
	for i, v := range list {
		if v == s {
			return i
		}
	}
	return -1
}

func (a *app) devCommand() *cli.Command {
	return &cli.Command{
		Name: "dev", Usage: "run one node in the foreground, with nothing to configure",
		Description: example("mesita dev", "mesita dev --http 127.0.0.1:8080"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Usage: "data `DIR` (default: a temporary one, removed at the end)"},
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:0", Usage: "`IP:PORT` of the one port"},
			&cli.StringFlag{Name: "http", Usage: "plain HTTP on loopback, without credentials for root and you, `127.0.0.1:PORT`"},
			&cli.StringFlag{Name: "name", Value: "dev", Usage: "`NAME` of the node"},
			&cli.StringFlag{Name: "resources", Usage: "what the node offers (default: what the machine has)"},
			memOvercommitFlag(),
			diskReserveFlag(),
			&cli.StringSliceFlag{Name: "attr", Usage: "attribute `K=V` for constraints; may be repeated"},
			&cli.StringFlag{Name: "slice", Usage: "top cgroup `NAME` (default: one of its own)"},
			&cli.StringFlag{Name: "log-format", Value: "text", Usage: "`FORMAT` of the log: text or json"},
			&cli.StringFlag{Name: "log-level", Value: "warn", Usage: "`LEVEL`: debug, info, warn or error"},
		},
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "dev"); err != nil {
				return err
			}
			return a.dev(c)
		},
	}
}

func (a *app) dev(c *cli.Context) error {
	cfg, err := a.agentConfig(c)
	if err != nil {
		return err
	}
	cfg.Dev, cfg.RaftMultiplier = true, 1
	if cfg.DataDir == "" {
		dir, err := os.MkdirTemp("", "mesita-dev-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o711); err != nil { // as of any data folder: tasks find their own in it
			return err
		}
		cfg.DataDir = dir
	}
	if cfg.Slice == "" {
		cfg.Slice = fmt.Sprintf("mesita-dev-%d.slice", os.Getpid())
	}
	if cfg.Socket == "" {
		cfg.Socket = filepath.Join(cfg.DataDir, "mesita.sock")
	}
	return a.foreground(c.Context, cfg)
}
