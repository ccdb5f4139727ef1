package option

import (
	"maps"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/urfave/cli/v2"
)

// about is flags that help lists under that title.
func about(title string, flags ...cli.Flag) []cli.Flag {
	for _, f := range flags {
		switch f := f.(type) {
		case *cli.StringFlag:
			f.Category = title
		case *cli.StringSliceFlag:
			f.Category = title
		case *cli.BoolFlag:
			f.Category = title
		case *cli.IntFlag:
			f.Category = title
		case *cli.Int64Flag:
			f.Category = title
		}
	}
	return flags
}

// TaskFlags are those that say what one task runs, and with what.
func TaskFlags(more ...cli.Flag) []cli.Flag {
	return slices.Concat(
		about("Room for each task",
			&cli.StringFlag{Name: "cpus", Usage: "`CORES` guaranteed to one task, such as 0.25 (default 0.1); it may use idle ones, too"},
			&cli.BoolFlag{Name: "pin", Usage: "no other task of its node runs on its --cpus: whole ones, each a thread of a core"},
			&cli.StringFlag{Name: "cpu-limit", Usage: "`CORES` that one task may use at most, or = for those of --cpus; default: what is idle"},
			&cli.StringFlag{Name: "mem", Usage: "`BYTES` of memory guaranteed to one task, such as 128MiB (default 64MiB); it is killed above"},
			&cli.StringFlag{Name: "mem-limit", Usage: "`BYTES` above which it is killed instead: what is above --mem it has while its node has room"},
			&cli.StringFlag{Name: "disk", Usage: "`BYTES` of disk, counted and not enforced"},
			&cli.Int64Flag{Name: "gpus", Usage: "`NUMBER` of GPUs"},
			&cli.StringSliceFlag{Name: "resource", Usage: "custom resource `K=V`: a number, 1-5,9 or {a,b}; may be repeated"},
		),
		about("Ports and environment",
			&cli.StringSliceFlag{Name: "port", Aliases: []string{"p"}, Usage: "`NAME` of a port, or NAME=NUMBER; {NAME} in arguments; may be repeated"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "environment `K=V`; may be repeated"},
			&cli.StringSliceFlag{Name: "file", Usage: "`NAME=PATH` of a file that its folder has at the start; may be repeated"},
			&cli.StringFlag{Name: "env-file", Usage: "`FILE` with a K=V on each line; quotes, comments and export are read as Docker Compose does"},
		),
		about("Where it runs",
			&cli.StringFlag{Name: "partition", Usage: "`PARTITION` it is in (default: default)"},
			&cli.StringSliceFlag{Name: "constraint", Aliases: []string{"c"}, Usage: "`CONDITION` on node attributes: disk=ssd, zone!=b, kernel>=6.1, node.name=oak; may be repeated"},
			&cli.StringSliceFlag{Name: "prefer", Usage: "`CONDITION` on node attributes that is a wish: disk=ssd; may be repeated"},
			&cli.StringSliceFlag{Name: "affinity", Usage: "near another job, `[~][!]JOB[@ATTR]`: db, db@zone, !db (away), ~db (a wish); may be repeated"},
			&cli.StringFlag{Name: "spread", Usage: "as many tasks for each value of the node attribute `ATTR`"},
			&cli.IntFlag{Name: "priority", Usage: "`NUMBER` in a partition of the policy priority, -1000 to 1000"},
			&cli.BoolFlag{Name: "at-most-once", Usage: "start nothing of it elsewhere before its node is known to be dead (`mesita node rm`, a reboot) or is back"},
			&cli.StringSliceFlag{Name: "label", Usage: "label `K=V`, by which lists can be narrowed; may be repeated"},
		),
		about("Its processes",
			&cli.StringFlag{Name: "user", Usage: "`USER` name or number, or USER:GROUP (default: who you run tasks as, see mesita can; root for admins)"},
			&cli.StringFlag{Name: "dir", Usage: "working `FOLDER` (default: one of the task's own)"},
			&cli.Int64Flag{Name: "pids", Usage: "most processes of a task, `NUMBER` (default 4096)"},
			&cli.StringSliceFlag{Name: "ulimit", Usage: "bound of each process, `NAME=SOFT:HARD`: nofile=1024:4096, core=unlimited; may be repeated"},
			&cli.IntFlag{Name: "nice", Usage: "`NUMBER` from -20 to 19, beside other processes of the same task (--cpus weighs tasks)"},
			&cli.BoolFlag{Name: "privileged", Usage: "root of the node: all capabilities, programs like sudo work, shared memory is the node's (admins only)"},
			&cli.StringSliceFlag{Name: "unconfined", Usage: "lifts a `PART` of what confines: " + api.PartNames() + "; may be repeated"},
			&cli.BoolFlag{Name: "host-pids", Usage: "see the node's processes, and signal those of the same user (admins only)"},
			&cli.StringFlag{Name: "log-max", Usage: "`BYTES` of logs kept per task (default 20MiB)"},
		),
		about("How it ends",
			&cli.StringFlag{Name: "stop-signal", Usage: "`SIGNAL` to stop with (default SIGTERM)"},
			&cli.StringFlag{Name: "stop-grace", Usage: "`TIME` until SIGKILL (default 10s)"},
			&cli.StringFlag{Name: "notice-signal", Usage: "`SIGNAL` that tells of a partition's --notice, beside the file MESITA_NOTICE"},
		),
		[]cli.Flag{
			&cli.BoolFlag{Name: "no-upload", Usage: "do not upload a local program"},
			DryRunFlag(),
			&cli.BoolFlag{Name: "detach", Usage: "do not wait"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print the id only"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT` of the result: table, json or yaml"},
		},
		more,
	)
}

// FillTask reads TaskFlags and the command into a spec.
func FillTask(c *cli.Context, s *api.JobSpec, command []string) error {
	s.Command, s.Partition, s.User, s.Dir = command, c.String("partition"), c.String("user"), c.String("dir")
	s.StopSignal, s.GPUs, s.Pids, s.Privileged, s.HostPIDs = c.String("stop-signal"), c.Int64("gpus"), c.Int64("pids"), c.Bool("privileged"), c.Bool("host-pids")
	s.NoticeSignal = c.String("notice-signal")
	s.Unconfined = c.StringSlice("unconfined")
	s.Nice = c.Int("nice")
	if c.IsSet("pids") && s.Pids == 0 {
		return api.FieldErrorf("pids", "0 is not within 1 to 4194304: leave it out for 4096")
	}
	p := Parser{C: c}
	s.CPUs = Parse(&p, "cpus", api.ParseCPU)
	s.Pin = c.Bool("pin")
	s.CPULimit = Parse(&p, "cpu-limit", api.ParseCPULimit)
	s.Mem = Parse(&p, "mem", api.ParseBytes)
	s.MemLimit = Parse(&p, "mem-limit", api.ParseBytes)
	s.Disk = Parse(&p, "disk", api.ParseBytes)
	s.LogMax = Parse(&p, "log-max", api.ParseBytes)
	s.StopGrace = Parse(&p, "stop-grace", api.ParseSpan)
	if p.Err != nil {
		return p.Err
	}
	for _, v := range c.StringSlice("port") {
		port, err := api.ParsePort(v)
		if err != nil {
			return InFlag("port", err)
		}
		s.Ports = append(s.Ports, port)
	}
	for _, v := range c.StringSlice("ulimit") {
		u, err := api.ParseUlimit(v)
		if err != nil {
			return InFlag("ulimit", err)
		}
		s.Ulimits = append(s.Ulimits, u)
	}
	if err := fillPlace(c, s); err != nil {
		return err
	}
	if err := fillMap("label", c.StringSlice("label"), &s.Labels); err != nil {
		return err
	}
	var err error
	if s.Custom, err = custom(c); err != nil {
		return err
	}
	if err := fillMap("file", c.StringSlice("file"), &s.Files); err != nil {
		return err
	}
	return fillEnv(c, s)
}

// fillPlace reads the flags that say where a task goes.
func fillPlace(c *cli.Context, s *api.JobSpec) error {
	s.Spread, s.Priority, s.AtMostOnce = c.String("spread"), c.Int("priority"), c.Bool("at-most-once")
	for flag, to := range map[string]*[]api.Constraint{"constraint": &s.Constraints, "prefer": &s.Prefer} {
		for _, v := range c.StringSlice(flag) {
			con, err := api.ParseConstraint(v)
			if err != nil {
				return InFlag(flag, err)
			}
			*to = append(*to, con)
		}
	}
	for _, v := range c.StringSlice("affinity") {
		aff, err := api.ParseAffinity(v)
		if err != nil {
			return InFlag("affinity", err)
		}
		s.Affinity = append(s.Affinity, aff)
	}
	return nil
}

// custom reads what is asked for of custom resources, nil: none.
func custom(c *cli.Context) (map[string]api.Quantity, error) {
	var out map[string]api.Quantity
	for _, v := range c.StringSlice("resource") {
		r, err := api.ParseResources(v)
		if err != nil {
			return nil, InFlag("resource", err)
		}
		if err := api.CheckCustom(r.Custom); err != nil {
			return nil, InFlag("resource", err)
		}
		if len(r.Custom) != 1 {
			return nil, api.FieldErrorf("resource", "%q is not NAME=AMOUNT of a custom resource", v)
		}
		if out == nil {
			out = map[string]api.Quantity{}
		}
		maps.Copy(out, r.Custom)
	}
	return out, nil
}

func fillEnv(c *cli.Context, s *api.JobSpec) error {
	if path := c.String("env-file"); path != "" {
		if err := readPairs("env-file", path, &s.Env); err != nil {
			return err
		}
	}
	return fillMap("env", c.StringSlice("env"), &s.Env)
}

// fillMap adds the K=V of a flag; the last of a name counts.
func fillMap(flag string, all []string, to *map[string]string) error {
	for _, kv := range all {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return api.FieldErrorf(flag, "%q is not K=V", kv)
		}
		if *to == nil {
			*to = map[string]string{}
		}
		(*to)[k] = v
	}
	return nil
}
