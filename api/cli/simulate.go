package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/cli/specfile"
	"github.com/mesita/mesita/cluster/simulate"
	"github.com/mesita/mesita/cluster/simulate/trace"
	"github.com/urfave/cli/v2"
)

func (a *app) simulateCommand() *cli.Command {
	return &cli.Command{
		Name: "simulate", Usage: "run a workload trace on a simulated cluster, with the decisions of a real one",
		Description: "The cluster is a YAML file with nodes: [{name, count, resources, attrs}], and if wanted partitions: [{path, …}] with the\n" +
			"fields of `mesita partition`, failures: [{node, at, for}], seed, start, stop (what a task takes to end), until, and\n" +
			"trace: {layout, columns, cpus, mem}. The trace is a CSV file, or one in .gz, whose first line names the columns:\n" +
			strings.Join(trace.Columns(), ", ") + ". Only submit and runtime must be there;\n" +
			"times are seconds or such as 1h30m. Other layouts: google2019 (the table instance_events, ordered by time),\n" +
			"alibaba (batch_task.csv of 2018) and swf (the Parallel Workloads Archive; that of a file that ends in .swf).\n" +
			"--attempts has the columns row (with data, of the trace, from 0 on), task, job, partition, node, attempt, start, end, outcome.\n\n" +
			example("mesita simulate -f cluster.yaml -f CTC-SP2-1996-3.1-cln.swf.gz --attempts attempts.csv", "mesita simulate -f cluster.yaml -f trace.csv --svg schedule.svg", "mesita simulate -f cluster.yaml -f batch_task.csv --layout alibaba -o json"),
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "file", Aliases: []string{"f"}, Required: true, Usage: "`FILE` of the cluster (.yaml, .yml, .json) and of the trace (.csv, .swf, either also .gz); give both"},
			&cli.StringFlag{Name: "layout", Usage: "`LAYOUT` of the trace: " + strings.Join(trace.Layouts(), ", ") + " (default: the cluster file's, or swf for .swf, or mesita)"},
			&cli.StringFlag{Name: "attempts", Usage: "also write what ran where and when into `FILE`, as CSV"},
			&cli.StringFlag{Name: "svg", Usage: "also draw the schedule into `FILE`"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT` of the report: table, json or yaml"},
		},
		Action: a.simulate,
	}
}

func (a *app) simulate(c *cli.Context) error {
	if err := args(c, 0, 0, "simulate -f CLUSTER.yaml -f TRACE.csv"); err != nil {
		return err
	}
	if _, err := format(c); err != nil {
		return err
	}
	clusterFile, traceFile, err := simulateFiles(c.StringSlice("file"))
	if err != nil {
		return err
	}
	cluster := new(simulate.Cluster)
	b, err := option.ReadFile("file", clusterFile, specfile.MaxSize)
	if err != nil {
		return err
	}
	if err := specfile.ParseOne(clusterFile, b, cluster, cluster.Validate); err != nil {
		return err
	}
	if l := c.String("layout"); l != "" {
		cluster.Trace.Layout = l
	} else if cluster.Trace.Layout == "" && filepath.Ext(strings.TrimSuffix(traceFile, ".gz")) == ".swf" {
		cluster.Trace.Layout = "swf"
	}
	work, err := trace.Open(traceFile, cluster.Trace)
	if err != nil {
		return err
	}
	result, err := simulate.Run(c.Context, cluster, work)
	if err != nil {
		return err
	}
	if path := c.String("svg"); path != "" {
		if err := writeFile(path, result.WriteSVG); err != nil {
			return api.FieldErrorf("svg", "%v", err)
		}
		a.progress("the schedule is drawn in %s", path)
	}
	if path := c.String("attempts"); path != "" {
		if err := writeFile(path, result.WriteAttempts); err != nil {
			return api.FieldErrorf("attempts", "%v", err)
		}
	}
	return one(a.out, c, &result.Report, "simulation", result.Report.WriteText)
}

// simulateFiles tells the cluster file from the trace by their names.
func simulateFiles(files []string) (cluster, trace string, err error) {
	for _, f := range files {
		to := &cluster
		switch filepath.Ext(strings.TrimSuffix(f, ".gz")) {
		case ".yaml", ".yml", ".json":
		case ".csv", ".swf":
			to = &trace
		default:
			return "", "", api.FieldErrorf("file", "%s is neither .yaml, .yml or .json (the cluster) nor .csv or .swf, also as .gz (the trace): rename it", f)
		}
		if *to != "" {
			return "", "", api.FieldErrorf("file", "%s and %s are of one kind: give one cluster and one trace", *to, f)
		}
		*to = f
	}
	switch {
	case cluster == "":
		return "", "", api.FieldErrorf("file", "names no cluster: add -f CLUSTER.yaml")
	case trace == "":
		return "", "", api.FieldErrorf("file", "names no trace: add -f TRACE.csv")
	}
	return cluster, trace, nil
}

// writeFile writes a file whole or not at all.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".mesita-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it has its own name by then if all went well
	err = write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
