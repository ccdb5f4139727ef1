package cli

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
)

// taskColumns are those of a table of tasks that the cluster just told.
func taskColumns(ctx context.Context, cl *client.Client, tasks []*api.Task) []column[*api.Task] {
	now, hosts := cl.Now(), hostsOf(ctx, cl, tasks)
	cols := []column[*api.Task]{
		{"TASK", func(t *api.Task) string { return t.ID }, false},
		{"ITS ID", func(t *api.Task) string { return ownID(t) }, false},
		{"STATE", stateText, false},
		{"NODE", func(t *api.Task) string { return t.Node }, false},
		{"UP", func(t *api.Task) string { return upText(t, now) }, false},
		{"RESTARTS", restartsText, false},
		{"ADDRESS", func(t *api.Task) string { return addressText(t, hosts[t.Node]) }, false},
		{"EXIT", exitText, false},
		{"ATTEMPT", func(t *api.Task) string { return fmt.Sprint(t.Attempt) }, true},
		{"PID", func(t *api.Task) string { return number(t.PID) }, true},
		{"PORTS", portsText, true},
		{"CPUS", func(t *api.Task) string { return t.Resources.CPUs.String() }, true},
		{"MEM", func(t *api.Task) string { return t.Resources.Mem.String() }, true},
		{"AGE", func(t *api.Task) string { return ageAt(t.Created, now) }, true},
		{"REASON", reasonText, false},
	}
	if !slices.ContainsFunc(tasks, func(t *api.Task) bool { return t.Framework != nil }) {
		cols = slices.Delete(cols, 1, 2)
	}
	return cols
}

// ownID is by which its framework knows a task, "-" if it has none.
func ownID(t *api.Task) string {
	if t.Framework == nil {
		return "-"
	}
	if t.Framework.IsExecutor {
		return "executor " + t.Framework.Executor
	}
	return t.Framework.ID
}

// upText is for how long the attempt that runs has been up.
func upText(t *api.Task, now time.Time) string {
	if !t.State.Active() || t.Started.IsZero() {
		return ""
	}
	return spanText(t.Ran(now))
}

// restartsText counts the attempts after the first of the task's version: one that a
// change of the job began is not a restart. Only so many earlier ones are remembered.
func restartsText(t *api.Task) string {
	first := slices.IndexFunc(t.Earlier, func(x api.Attempt) bool { return x.Version == t.Version })
	if first < 0 {
		return "0"
	}
	n := strconv.Itoa(t.Attempt - t.Earlier[first].Attempt)
	if first == 0 && len(t.Earlier) == api.MaxAttempts {
		return n + "+"
	}
	return n
}

// addressText is where the ports of a task are reached.
func addressText(t *api.Task, host string) string {
	if len(t.Ports) == 0 || !t.Holds() {
		return ""
	}
	var ports []string
	for _, k := range slices.Sorted(maps.Keys(t.Ports)) {
		ports = append(ports, strconv.Itoa(t.Ports[k]))
	}
	return net.JoinHostPort(host, strings.Join(ports, ","))
}

// hostsOf tells the hosts of nodes by their names, where a task has a port. Who may not
// see the nodes, or is told nothing, sees the ports alone.
func hostsOf(ctx context.Context, cl *client.Client, tasks []*api.Task) map[string]string {
	if !slices.ContainsFunc(tasks, func(t *api.Task) bool { return len(t.Ports) > 0 && t.Holds() }) {
		return nil
	}
	nodes, _ := cl.Nodes(ctx, false)
	out := map[string]string{}
	for _, n := range nodes {
		if host, _, err := net.SplitHostPort(n.Addr); err == nil {
			out[n.Name] = host
		}
	}
	return out
}
