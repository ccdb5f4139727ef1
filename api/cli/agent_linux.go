package cli

import (
	"context"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/cluster"
	"github.com/urfave/cli/v2"
)

func (a *app) startNode(c *cli.Context) error {
	if err := args(c, 0, 0, "node start"); err != nil {
		return err
	}
	conf, err := configure(c)
	if err != nil {
		return err
	}
	cfg, err := a.agentConfig(c)
	if err != nil {
		return conf.located(err)
	}
	cfg.Seeds, cfg.Rejoin = c.StringSlice("seed"), c.Bool("rejoin")
	return a.runAgent(c, cfg, conf)
}

func (a *app) joinNode(c *cli.Context) error {
	if err := args(c, 1, 1, "node join ADDRESS --token TOKEN"); err != nil {
		return err
	}
	conf, err := configure(c)
	if err != nil {
		return err
	}
	cfg, err := a.agentConfig(c)
	if err != nil {
		return conf.located(err)
	}
	cfg.JoinAddrs, cfg.Token = strings.Split(c.Args().First(), ","), c.String("token")
	if path := c.String("token-file"); path != "" {
		b, err := option.ReadFile("token-file", path, option.MaxSecret)
		if err != nil {
			return err
		}
		cfg.Token = strings.TrimSpace(string(b))
	}
	if cfg.Token == "" {
		return api.FieldErrorf("token", "is missing: get one with `mesita node token` on a node of the cluster")
	}
	if _, err := api.ParseJoinToken(cfg.Token); err != nil {
		return err
	}
	return a.runAgent(c, cfg, conf)
}

func limitFlags() (flags []cli.Flag) {
	for _, l := range cluster.Limits() {
		flags = append(flags, &cli.StringFlag{Name: l.Name, Value: l.Default, Usage: l.Usage()})
	}
	return flags
}

func (a *app) agentConfig(c *cli.Context) (cluster.Config, error) {
	cfg := cluster.Config{
		Name: c.String("name"), DataDir: c.String("data"), Listen: c.String("listen"), Advertise: c.String("advertise"), HTTP: c.String("http"), MesosHTTP: c.String("mesos-http"), MesosAnonymous: c.Bool("mesos-anonymous"),
		MesosAgentPort: c.Int("mesos-agent-port"), MesosExecutorAuth: c.Bool("mesos-executor-auth"),
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

func (a *app) dev(c *cli.Context) error {
	if err := args(c, 0, 0, "dev"); err != nil {
		return err
	}
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
		cfg.Slice = devSlice(cfg.DataDir)
	}
	if cfg.Socket == "" {
		cfg.Socket = filepath.Join(cfg.DataDir, "mesita.sock")
	}
	return a.foreground(c.Context, cfg, func() {})
}

// devSlice names the slice of a node in the foreground by its data folder: one that starts
// there again finds what an earlier keeper left running, and ends it.
func devSlice(dataDir string) string {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		dir = dataDir
	}
	return fmt.Sprintf("mesita-dev-%08x.slice", crc32.ChecksumIEEE([]byte(withoutLinks(dir))))
}

// withoutLinks is a path without links, of what is made later, too.
func withoutLinks(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(withoutLinks(parent), filepath.Base(path))
	}
	return path
}
