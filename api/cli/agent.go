package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster"
	"github.com/urfave/cli/v2"
)

// This file is the only one that knows how a node is configured by flags and
// environment.

func agentFlags() []cli.Flag {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the node, unique in the cluster (default: the host name)"},
		dataFlag(),
		listenFlag(),
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
	for _, l := range cluster.Limits() {
		flags = append(flags, &cli.StringFlag{Name: l.Name, Value: l.Default, Usage: l.Usage()})
	}
	return flags
}

func dataFlag() cli.Flag {
	return &cli.StringFlag{Name: "data", EnvVars: []string{"MESITA_DATA"}, Value: cluster.DefaultDataDir, Usage: "data `DIR`"}
}

func listenFlag() cli.Flag {
	return &cli.StringFlag{Name: "listen", Value: fmt.Sprintf("0.0.0.0:%d", cluster.DefaultPort), Usage: "`IP:PORT` of the one port, TCP and UDP"}
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
		CgroupRoot: c.String("cgroup-root"), RaftMultiplier: c.Float64("raft-multiplier"), Version: Version, Attrs: map[string]string{}, Limits: map[string]string{},
	}
	for _, l := range cluster.Limits() {
		if c.Value(l.Name) != nil { // dev has none
			cfg.Limits[l.Name] = c.String(l.Name)
		}
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
func (a *app) runAgent(c *cli.Context, cfg cluster.Config, conf *configured) error {
	if c.Bool("foreground") || os.Getenv("INVOCATION_ID") != "" {
		return conf.located(a.foreground(c.Context, cfg, func() { a.keepSettings(c, conf) }))
	}
	return conf.located(a.background(c, cfg, conf))
}

// foreground runs a node; begun is called as it is ready.
func (a *app) foreground(ctx context.Context, cfg cluster.Config, begun func()) error {
	agent, err := cluster.New(cfg)
	if err != nil {
		return err
	}
	behind := os.Getenv(behindEnv) != ""
	if err := os.Unsetenv(behindEnv); err != nil { // it is of this process alone
		return err
	}
	outliveReaders()
	dropIdle(dropProgram)
	begin := time.Now()
	return agent.Run(ctx, func(r cluster.Ready) {
		w := welcome{r, time.Since(begin)}
		begun()
		if behind {
			a.greet(w) // in its log
			a.handOver(w)
			return
		}
		a.welcome(ctx, w)
	})
}

// outliveReaders lets a node continue when nobody reads what it prints any more:
// whoever started it may be gone by the time that it is ready. The signal is
// caught, not ignored, which tasks would inherit.
func outliveReaders() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

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
	return a.foreground(c.Context, cfg, func() {})
}
