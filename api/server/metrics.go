package server

import (
	"bytes"
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/server/meter"
	"github.com/mesita/mesita/fsm"
)

// getMetrics tells what this node does, and, if it leads, what the cluster is: so a sum
// over all nodes counts nothing twice.
func getMetrics(c *call) (any, error) {
	s, sees := &meter.Scrape{}, c.sight(c.Store.View())
	c.ofNode(s)
	c.ofTasks(s, sees.job)
	if c.Cluster.IsLeader() {
		c.ofCluster(s, sees.job)
	}
	var b bytes.Buffer
	if err := c.Meter.Write(&b, s); err != nil {
		return nil, err
	}
	return exchange.Text(b.String()), nil
}

func flagValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (c *call) ofNode(s *meter.Scrape) {
	s.Gauge("mesita_state_index", "Index of the last log entry applied here.", float64(c.Store.View().Index()))
	s.Gauge("mesita_is_leader", "1 on the node that leads.", flagValue(c.Cluster.IsLeader()))
	s.Gauge("mesita_has_leader", "1 while this node knows a leader.", flagValue(c.Cluster.LeaderID() != ""))
	_, full := c.Local.DiskFull()
	s.Gauge("mesita_disk_full", "1 while this node takes no new work for lack of disk.", flagValue(full))
	s.Gauge("mesita_streams", "Event, log, exec and assignment streams open here.", float64(c.http.Streams()))
	if c.Machine == nil {
		return
	}
	s.Gauge("mesita_certificate_expiry_timestamp_seconds", "When the certificate of this node ends.", float64(c.Machine.CertificateEnds().Unix()))
	if free, total, err := c.Machine.Disk(); err == nil {
		s.Gauge("mesita_disk_free_bytes", "What is free where the data folder is.", float64(free))
		s.Gauge("mesita_disk_size_bytes", "The size of the file system of the data folder.", float64(total))
	}
	r := c.Machine.Raft()
	for _, state := range raftStates {
		s.Gauge("mesita_raft_state", "1 for the state in which Raft is on this node.", flagValue(state == r.State), "state", state)
	}
	s.Gauge("mesita_raft_term", "The term of Raft.", float64(r.Term))
	s.Gauge("mesita_raft_log_index", "Index of the last entry in the log of this node.", float64(r.Log))
	s.Gauge("mesita_raft_commit_index", "Index of the last entry that this node knows to be agreed on.", float64(r.Commit))
	s.Gauge("mesita_raft_lag_entries", "Entries in the log of this node that did not take effect here yet.", float64(r.Log-min(r.Log, r.Applied)))
	s.Gauge("mesita_raft_waiting_commands", "Commands that wait for a log entry.", float64(r.Waiting))
	s.Gauge("mesita_raft_voters", "Voters of the cluster, as this node knows it.", float64(r.Voters))
}

var raftStates = words("follower", "candidate", "leader", "shutdown")

// usageWait is how long a scrape waits for the figures of tasks.
const usageWait = 2 * time.Second

// ofTasks is what the tasks of this node use. What is not a sum over time is left out
// when not all is known.
func (c *call) ofTasks(s *meter.Scrape, shown func(job string) bool) {
	ctx, cancel := context.WithTimeout(c.R.Context(), usageWait)
	defer cancel()
	stats, err := c.Local.Stats(ctx, api.StatsUse)
	c.Meter.Use(stats, jobOf, time.Now())
	c.Meter.Used(s, cmp.Or(c.ID.Token, c.ID.Actor), shown)
	if err != nil {
		return // of some tasks alone it would be less than they use
	}
	type sum struct{ mem, processes float64 }
	few := meter.Few{Shown: shown}
	var jobs []string
	sums := map[string]*sum{}
	for i := range stats {
		job := few.Of(jobOf(stats[i].Task))
		if sums[job] == nil {
			sums[job] = &sum{}
			jobs = append(jobs, job)
		}
		sums[job].mem += float64(stats[i].Mem)
		sums[job].processes += float64(stats[i].Processes)
	}
	for _, job := range jobs {
		s.Gauge("mesita_job_memory_bytes", "Memory that the tasks of a job use on this node.", sums[job].mem, "job", job)
		s.Gauge("mesita_job_processes", "Processes of the tasks of a job on this node.", sums[job].processes, "job", job)
	}
	s.Gauge("mesita_node_tasks", "Tasks that run on this node.", float64(len(stats)))
}

// jobOf is the job of a task, by their ids.
func jobOf(task string) string { return task[:max(0, strings.LastIndexByte(task, '.'))] }

// ofCluster is what the cluster is and does.
func (c *call) ofCluster(s *meter.Scrape, shown func(job string) bool) {
	v := c.Store.View()
	nodes := map[string]float64{}
	var has, free api.Resources
	for n := range v.Nodes() {
		nodes[n.State.String()]++
		if n.State == api.NodeReady || n.State == api.NodeDraining {
			has, free = has.Add(n.Resources), free.Add(v.Free(n.ID))
		}
	}
	byState(s, "mesita_nodes", "Nodes by state.", api.NodeStates(), nodes)
	s.Gauge("mesita_capacity_cpus", "Cores of the nodes that answer.", has.CPUs.Cores())
	s.Gauge("mesita_cpus_free", "Cores that nothing holds.", free.CPUs.Cores())
	s.Gauge("mesita_capacity_memory_bytes", "Memory of the nodes that answer.", float64(has.Mem))
	s.Gauge("mesita_memory_free_bytes", "Memory that nothing holds.", float64(free.Mem))
	ofWork(s, v)
	ofFrameworks(s, v)
	ofPartitions(s, c.Shares.Status(v))
	open, oom := 0.0, map[string]float64{}
	for i := range v.Incidents() {
		if i.Over.IsZero() {
			open++
		}
		if i.Kind == api.IncidentTaskOOM && i.Job != "" {
			oom[i.Job] += float64(max(1, i.Count))
		}
	}
	s.Gauge("mesita_incidents_open", "Failures that are not over.", open)
	ofJobs(s, v, oom, shown)
}

func byState(s *meter.Scrape, name, help string, states []string, counts map[string]float64) {
	for _, state := range states {
		s.Gauge(name, help, counts[state], "state", state)
	}
}

// ofWork counts jobs and tasks without a look at any single task.
func ofWork(s *meter.Scrape, v *fsm.View) {
	jobs, tasks := map[string]float64{}, map[string]float64{}
	for j := range v.Jobs() {
		jobs[j.State.String()]++
		tasks[api.TaskFinished.String()] += float64(j.Counts.Finished)
		tasks[api.TaskFailed.String()] += float64(j.Counts.Failed)
		tasks[api.TaskKilled.String()] += float64(j.Counts.Stopped)
	}
	for p := range v.Partitions() {
		u := v.Usage(p.Path)
		tasks["pending"] += float64(u.Pending)
		tasks["frozen"] += float64(u.Frozen)
		tasks[api.TaskStarting.String()] += float64(u.Starting)
		tasks[api.TaskRunning.String()] += float64(u.Running - u.Frozen) // which run, in place
	}
	byState(s, "mesita_jobs", "Jobs by state.", api.JobStates(), jobs)
	byState(s, "mesita_tasks", "Tasks by state of their newest attempt.", append(words("pending", "frozen"), api.TaskStarting.String(),
		api.TaskRunning.String(), api.TaskFinished.String(), api.TaskFailed.String(), api.TaskKilled.String()), tasks)
}

// ofFrameworks counts them, and what is on offer to them.
func ofFrameworks(s *meter.Scrape, v *fsm.View) {
	states, offers := map[string]float64{}, 0.0
	for f := range v.Frameworks() {
		states[f.State()]++
	}
	for range v.Offers() {
		offers++
	}
	byState(s, "mesita_frameworks", "Frameworks by state; away: not connected, and not removed yet.", words("connected", "away"), states)
	s.Gauge("mesita_offers", "Offers to frameworks that are not answered.", offers)
}

// ofJobs tells of each job that has not ended; of what the caller does not see, and of
// what is too much, together.
func ofJobs(s *meter.Scrape, v *fsm.View, oom map[string]float64, shown func(job string) bool) {
	restarts, limits := map[string]float64{}, map[string]float64{}
	for n := range v.Nodes() {
		for t := range v.NodeTasks(n.ID) {
			restarts[t.Job] += float64(t.Attempt - 1)
			if t.Framework != nil && t.State == api.TaskRunning { // each has its own
				limits[t.Job] += float64(t.Resources.Mem + t.Resources.MemExtra)
			}
		}
	}
	type sum struct{ running, waiting, limit, restarts, oom float64 }
	few := meter.Few{Shown: shown}
	var jobs []string
	sums := map[string]*sum{}
	for j := range v.Jobs() {
		if j.State.Ended() {
			continue
		}
		name := few.Of(j.ID)
		if sums[name] == nil {
			sums[name] = &sum{}
			jobs = append(jobs, name)
		}
		of, running := sums[name], float64(j.Counts.Running)
		of.running += running
		of.waiting += float64(j.Counts.Pending)
		of.limit += running*float64(max(j.Spec.Mem, j.Spec.MemLimit)) + limits[j.ID]
		of.restarts += restarts[j.ID]
		of.oom += oom[j.ID]
	}
	for _, job := range jobs {
		of := sums[job]
		s.Gauge("mesita_job_tasks_running", "Tasks of a job that run.", of.running, "job", job)
		s.Gauge("mesita_job_tasks_waiting", "Tasks of a job that wait for a node.", of.waiting, "job", job)
		s.Gauge("mesita_job_memory_limit_bytes", "The limits of memory of the tasks of a job that run.", of.limit, "job", job)
		s.Gauge("mesita_job_restarts", "Attempts after their first of the tasks of a job that are on nodes.", of.restarts, "job", job)
		s.Gauge("mesita_job_oom_kills", "Tasks of a job that were killed for memory, as incidents are kept.", of.oom, "job", job)
	}
}

// ofPartitions tells what each partition holds, those below it included.
func ofPartitions(s *meter.Scrape, list []api.PartitionStatus) {
	for i := range list {
		p := &list[i]
		say := func(name, help string, value float64) {
			s.Gauge("mesita_partition_"+name, help, value, "partition", p.Path)
		}
		say("cpus_guaranteed", "Cores that a partition can always get.", p.Guarantee.CPUs.Cores())
		say("memory_guaranteed_bytes", "Memory that a partition can always get.", float64(p.Guarantee.Mem))
		if p.Limit.CPUs > 0 {
			say("cpus_limit", "Cores that the tasks of a partition may hold at most; not there: no limit.", p.Limit.CPUs.Cores())
		}
		if p.Limit.Mem > 0 {
			say("memory_limit_bytes", "Memory that the tasks of a partition may hold at most; not there: no limit.", float64(p.Limit.Mem))
		}
		say("cpus_allocated", "Cores that the tasks of a partition hold.", p.Allocated.CPUs.Cores())
		say("memory_allocated_bytes", "Memory that the tasks of a partition hold.", float64(p.Allocated.Mem))
		say("cpus_offered", "Cores that are on offer to the frameworks of a partition.", p.Offered.CPUs.Cores())
		say("memory_offered_bytes", "Memory that is on offer to the frameworks of a partition.", float64(p.Offered.Mem))
		say("pending", "Tasks of a partition that wait for a node.", float64(p.Pending))
		say("running", "Running tasks of a partition.", float64(p.Running))
		say("frozen", "Tasks of a partition that are stopped in place.", float64(p.Frozen))
		say("share", "The largest share of any one resource that a partition holds.", p.Share)
		say("fair", "The share that a partition is entitled to.", p.Fair)
		if p.Sharing != nil {
			say("idle", "The share of the cluster that is free and kept for the first task in line of a partition.", p.Sharing.Idle)
		}
	}
}
