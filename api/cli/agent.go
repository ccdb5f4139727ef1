package cli

import (
	"fmt"

	"github.com/mesita/mesita/api"
	"github.com/urfave/cli/v2"
)

// These flags are how a node is configured; agent_linux.go makes its configuration of them.

// joinTokenEnv hands the join token over.
const joinTokenEnv = "MESITA_JOIN_TOKEN"

func agentFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the node, unique in the cluster (default: the host name)"},
		dataFlag(),
		listenFlag(),
		&cli.StringFlag{Name: "advertise", Usage: "`IP:PORT` that the others reach (default: found from --listen)"},
		&cli.StringFlag{Name: "http", Usage: "plain HTTP on loopback, `127.0.0.1:PORT`; a token is needed"},
		mesosHTTPFlag(),
		mesosAnonymousFlag(),
		mesosAgentPortFlag(),
		mesosExecutorAuthFlag(),
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
	}, limitFlags()...)
}

func dataFlag() cli.Flag {
	return &cli.StringFlag{Name: "data", EnvVars: []string{"MESITA_DATA"}, Value: api.DefaultDataDir, Usage: "data `DIR`"}
}

func listenFlag() cli.Flag {
	return &cli.StringFlag{Name: "listen", Value: fmt.Sprintf("0.0.0.0:%d", api.DefaultPort), Usage: "`IP:PORT` of the one port, TCP and UDP"}
}

func mesosHTTPFlag() cli.Flag {
	return &cli.StringFlag{Name: "mesos-http", Usage: "the Mesos scheduler API in the clear, at `IP:PORT`; a token is the secret"}
}

func mesosAnonymousFlag() cli.Flag {
	return &cli.BoolFlag{Name: "mesos-anonymous", Usage: "anybody who reaches --mesos-http may run programs on the cluster, and beside all tasks of this node, and read these; on a voter"}
}

func mesosAgentPortFlag() cli.Flag {
	return &cli.IntFlag{Name: "mesos-agent-port", Usage: "the Mesos API of an agent at this `PORT`, too, such as 5051: on 127.0.0.1, or where --listen is if that is on loopback"}
}

func mesosExecutorAuthFlag() cli.Flag {
	return &cli.BoolFlag{Name: "mesos-executor-auth", Usage: "executors of frameworks must show the token that they are given"}
}

func memOvercommitFlag() cli.Flag {
	return &cli.StringFlag{Name: "mem-overcommit", Value: "2", Usage: "most of all --mem-limit together, in `TIMES` its memory, 1 to 10"}
}

func diskReserveFlag() cli.Flag {
	return &cli.StringFlag{Name: "disk-reserve", Usage: "`SIZE` of the data folder's disk that tasks leave free (default: 1GiB, or 5 % of a small disk)"}
}
