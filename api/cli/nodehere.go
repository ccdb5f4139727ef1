package cli

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/urfave/cli/v2"
)

// These commands are about the machine that they are typed on, and nodes run on Linux
// alone. Elsewhere they are in the help all the same, and say so.

// here is what they do. What is nil cannot be done on this system.
type here struct {
	// fetch is this program in the place of a task, whose environment it has: before
	// anything is read of that. It returns the exit code, if the word asks for it.
	fetch func(ctx context.Context, word string) (code int, ok bool)

	dev, start, join, stop, restart, config, install, recover, keeper cli.ActionFunc
}

func ofThisMachine(c *cli.Command, do cli.ActionFunc) *cli.Command {
	if c.Action = do; do == nil {
		c.Usage += " (Linux)"
		c.Action = notHere
	}
	return c
}

const nodesRunHere = runtime.GOOS == "linux"

func notHere(*cli.Context) error {
	return usage("nodes run on Linux, and this is %s: type it on a machine that runs Linux", systemName())
}

func systemName() string {
	switch runtime.GOOS {
	case "darwin":
		return "macOS"
	case "windows":
		return "Windows"
	}
	return runtime.GOOS
}

// stopTime is how long the end of a daemon is waited for by default: it hands the lead
// over, and writes what it was told.
const stopTime = time.Minute

func (a *app) nodeStart() *cli.Command {
	return ofThisMachine(&cli.Command{
		Name: "start", Usage: "start this node: a new cluster, or the one it is in", Description: "A node remembers where the others are. If all have new addresses now, name one that runs with --seed; no token is needed.\n" +
			"After `cluster recover` on another node, --rejoin makes this one continue with the recovered cluster.\nIts raft log is kept aside then, its identity and tasks stay.\n\n" +
			example("mesita node start", "mesita node start --name oak --listen 10.0.0.11:5050 --attr disk=ssd", "mesita node start --seed 10.0.1.12", "mesita node start --rejoin"),
		Flags: append(agentFlags(),
			&cli.StringSliceFlag{Name: "seed", Usage: "`ADDRESS` of another node, if all have moved; may be repeated"},
			&cli.BoolFlag{Name: "rejoin", Usage: "continue with the cluster as it was recovered on another node"},
		),
	}, a.here().start)
}

func (a *app) nodeJoin() *cli.Command {
	return ofThisMachine(&cli.Command{
		Name: "join", Usage: "start this node and join a cluster", ArgsUsage: "ADDRESS[,ADDRESS…]", Description: example("mesita node join 10.0.0.11 --token mst1-pine-…", "mesita node join oak:5050 --token-file /root/token --voter-only"),
		Flags: append(agentFlags(),
			&cli.StringFlag{Name: "token", EnvVars: []string{joinTokenEnv}, Usage: "the join token, `mst1-…`"},
			&cli.StringFlag{Name: "token-file", Usage: "`FILE` with the join token"},
		),
	}, a.here().join)
}

func (a *app) nodeStop() *cli.Command {
	return ofThisMachine(&cli.Command{
		Name: "stop", Usage: "stop this machine's node; its tasks keep running",
		Description: "The daemon hands the lead over and ends. Its tasks keep running under the keeper, and are reported once it is\nstarted again; services start elsewhere if it stays away.\nWith --with-tasks the node is drained first, and stays drained until mesita node resume.\n\n" +
			example("mesita node stop", "mesita node stop --with-tasks --deadline 5m"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "with-tasks", Usage: "move its tasks elsewhere first, as mesita node drain does"},
			option.SpanFlag("deadline", 0, "with --with-tasks: `TIME` by which the node is empty, whatever still runs (default: batch tasks may end)"),
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "also if too few voters would be left to lead the cluster, or with --with-tasks no other node for some tasks"},
			option.DryRunFlag(),
			option.SpanFlag("timeout", stopTime, "the most `TIME` to wait for its end"),
		},
	}, a.here().stop)
}

func (a *app) nodeRestart() *cli.Command {
	return ofThisMachine(&cli.Command{
		Name: "restart", Usage: "stop this machine's node and start it as it was started; its tasks keep running",
		Description: "It is started in the background by this program, with the flags, the folder and the MESITA_… variables that it had:\nso a new version of the program takes over.\n\n" + example("mesita node restart"),
		Flags:       []cli.Flag{option.SpanFlag("timeout", stopTime, "the most `TIME` to wait for its end")},
	}, a.here().restart)
}

func (a *app) nodeConfig() *cli.Command {
	return ofThisMachine(&cli.Command{
		Name: "config", Usage: "show or change the settings with which this machine's node starts", ArgsUsage: "[set|unset] [SETTING[=VALUE]…]",
		Description: "They are in node.yaml in the data folder, which the first start writes. A flag goes before the file, and " +
			"the\nfile before the default. A change counts from the next start on.\n\n" +
			example("mesita node config", "mesita node config set listen=10.0.0.11:5050 resources=cpus=4,mem=8GiB",
				"mesita node config set attr=rack=a attr=disk=ssd", "mesita node config unset http"),
		Flags: readFlags(dataFlag(), option.DryRunFlag()),
	}, a.here().config)
}

func (a *app) nodeInstall() *cli.Command {
	return ofThisMachine(&cli.Command{
		Name: "install", Usage: "have systemd run this node: write its unit, node.yaml, and the user mesita-task",
		Description: "The settings go to node.yaml in the data folder: the flags given here, then those of the node that runs, " +
			"then what the\nfile has. A node that runs is handed over to systemd: its daemon is stopped and started by the unit, its " +
			"tasks run on.\n\n" +
			example("mesita node install", "mesita node install --print --listen 10.0.0.11:5050",
				"mesita node install --root /mnt/image --resources cpus=4,mem=8GiB"),
		Flags: append(agentFlags(),
			&cli.BoolFlag{Name: "print", Aliases: []string{"dry-run"}, Usage: "print the unit instead"},
			&cli.StringFlag{Name: "root", Value: "/", Usage: "write below this `DIR`, and leave what runs here alone"},
		),
	}, a.here().install)
}

func (a *app) clusterRecover() *cli.Command {
	return ofThisMachine(&cli.Command{
		Name: "recover", Usage: "make this node, which is stopped, the only voter after the majority was lost for good", ArgsUsage: "CLUSTER",
		Description: "It backs the log up first. What other voters had acknowledged and this one had not received is lost.\nAsk for it by the cluster's name. Then start this node. Former nodes that come back\nare refused until they are started with node start --rejoin. The other nodes are asked first, where they\nwere last: while voters, or nodes that know of a leader, answer, it is refused without --force.\n\n" +
			example("mesita cluster recover pine --data /var/lib/mesita"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", EnvVars: []string{"MESITA_DATA"}, Value: api.DefaultDataDir, Usage: "data `DIR`"},
			&cli.StringFlag{Name: "listen", Value: fmt.Sprintf("0.0.0.0:%d", api.DefaultPort), Usage: "`IP:PORT` of the node's one port"},
			&cli.BoolFlag{Name: "force", Usage: "even while others that may be the majority answer; they are not asked"},
			option.DryRunFlag(),
		},
	}, a.here().recover)
}

func (a *app) keeperCommand() *cli.Command {
	return ofThisMachine(&cli.Command{
		Name: "keeper", Hidden: true, Usage: "run as the parent of a node's tasks (the daemon starts it)",
		Description: example("mesita keeper --dir /var/lib/mesita/keeper --slice mesita.slice"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dir", Required: true, Usage: "the keeper's `DIR`"},
			&cli.StringFlag{Name: "slice", Usage: "top cgroup `NAME`"},
			&cli.StringFlag{Name: "cgroup-root", Usage: "`DIR` where cgroup v2 is mounted"},
		},
	}, a.here().keeper)
}

func (a *app) devCommand() *cli.Command {
	return ofThisMachine(&cli.Command{
		Name: "dev", Usage: "run one node in the foreground, with nothing to configure",
		Description: example("mesita dev", "mesita dev --http 127.0.0.1:8080"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Usage: "data `DIR` (default: a temporary one, removed at the end)"},
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:0", Usage: "`IP:PORT` of the one port"},
			&cli.StringFlag{Name: "http", Usage: "plain HTTP on loopback, without credentials for root and you, `127.0.0.1:PORT`"},
			mesosHTTPFlag(),
			mesosAnonymousFlag(),
			mesosAgentPortFlag(),
			mesosExecutorAuthFlag(),
			&cli.StringFlag{Name: "name", Value: "dev", Usage: "`NAME` of the node"},
			&cli.StringFlag{Name: "resources", Usage: "what the node offers (default: what the machine has)"},
			memOvercommitFlag(),
			diskReserveFlag(),
			&cli.StringSliceFlag{Name: "attr", Usage: "attribute `K=V` for constraints; may be repeated"},
			&cli.StringFlag{Name: "slice", Usage: "top cgroup `NAME` (default: one of its own)"},
			&cli.StringFlag{Name: "log-format", Value: "text", Usage: "`FORMAT` of the log: text or json"},
			&cli.StringFlag{Name: "log-level", Value: "warn", Usage: "`LEVEL`: debug, info, warn or error"},
		},
	}, a.here().dev)
}
