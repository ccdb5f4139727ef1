package agent

import (
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
)

// What an executor is told of how long to try to come back to a node whose daemon is not
// there. Mesos' own defaults.
const (
	recoverWithin = 15 * time.Minute
	comeBack      = 2 * time.Second
)

// Env is what this node adds to the environment of a framework's task that works in a
// folder, below what its framework says.
func (d *Desk) Env(t *api.Task, grace time.Duration, dir string) map[string]string {
	f := t.Framework
	if f == nil {
		return nil
	}
	env := map[string]string{"MESOS_DIRECTORY": dir, "MESOS_SANDBOX": dir}
	if !f.IsExecutor {
		return env
	}
	d.mu.Lock()
	h := d.hosts[t.ID]
	checkpoint := h != nil && h.info.Framework.Checkpoint != nil && *h.info.Framework.Checkpoint
	d.mu.Unlock()
	env["MESOS_FRAMEWORK_ID"], env["MESOS_EXECUTOR_ID"] = f.Framework, f.Executor
	env["MESOS_AGENT_ENDPOINT"], env["MESOS_SLAVE_PID"] = d.cfg.Endpoint, "slave(1)@"+d.cfg.Endpoint
	env["MESOS_SLAVE_ID"], env["MESOS_AGENT_ID"] = d.cfg.NodeID, d.cfg.NodeID
	env["MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD"] = duration(grace)
	env["MESOS_EXECUTOR_AUTHENTICATION_TOKEN"] = d.token(t)
	env["MESOS_CHECKPOINT"] = "0"
	if checkpoint {
		env["MESOS_CHECKPOINT"] = "1"
		env["MESOS_RECOVERY_TIMEOUT"], env["MESOS_SUBSCRIPTION_BACKOFF_MAX"] = duration(recoverWithin), duration(comeBack)
	}
	return env
}

// duration is how Mesos writes one: a number, and the largest unit that it is whole in.
func duration(d time.Duration) string {
	for _, u := range []struct {
		is   time.Duration
		name string
	}{{7 * 24 * time.Hour, "weeks"}, {24 * time.Hour, "days"}, {time.Hour, "hrs"}, {time.Minute, "mins"}, {time.Second, "secs"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}} {
		if d >= u.is && d%u.is == 0 {
			return strconv.FormatInt(int64(d/u.is), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d), 10) + "ns"
}
