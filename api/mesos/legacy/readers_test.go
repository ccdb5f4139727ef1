package legacy

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/mesos/rows"
)

// dnsState is what a name server of Mesos reads.
type dnsState struct {
	Leader string
	Slaves []struct{ ID, Hostname, PID string }

	Frameworks []struct {
		Name   string
		Active bool
		Tasks  []struct {
			SlaveID   string `json:"slave_id"`
			State     string
			Name      string
			Resources struct{ Ports string }
			Statuses  []struct {
				State           string
				Timestamp       float64
				ContainerStatus struct {
					NetworkInfos []struct {
						IPAddresses []struct {
							IPAddress string `json:"ip_address"`
						} `json:"ip_addresses"`
					} `json:"network_infos"`
				} `json:"container_status"`
			}
			Discovery struct {
				Visibility, Name string
				Ports            struct {
					Ports []struct {
						Number         int
						Name, Protocol string
					}
				}
			}
		}
	}
}

// A name server finds each task by the name of its framework, at the address of its node
// and by its ports.
func TestNameServersFindTasks(t *testing.T) {
	w := known(t, auth.Anybody)
	for _, path := range []string{"/state", "/master/state", "/state.json", "/master/state.json"} {
		var s dnsState
		w.read(path, "", &s)
		hosts := map[string]string{}
		for _, n := range s.Slaves {
			hosts[n.ID] = n.PID
		}
		if s.Leader != "master@10.0.0.11:5050" || hosts["oak"] != "slave(1)@10.0.0.11:5050" || hosts["elm"] != "slave(1)@10.0.0.12:5050" {
			t.Errorf("%s: %s %v", path, s.Leader, hosts)
		}
		var found []string
		for _, f := range s.Frameworks {
			for _, x := range f.Tasks {
				last := x.Statuses[len(x.Statuses)-1]
				port := x.Discovery.Ports.Ports[0]
				found = append(found, strings.Join([]string{f.Name, x.Name, x.State, x.Resources.Ports, x.Discovery.Visibility, x.Discovery.Name, port.Name, port.Protocol, last.State,
					last.ContainerStatus.NetworkInfos[0].IPAddresses[0].IPAddress}, " "))
				if !f.Active || last.Timestamp != 1777636801.5 || hosts[x.SlaveID] == "" {
					t.Errorf("%s: %+v", path, x)
				}
			}
		}
		slices.Sort(found)
		if want := []string{"marathon app TASK_RUNNING [31005-31006] EXTERNAL app web tcp TASK_RUNNING 10.0.0.11",
			"mesita web TASK_RUNNING [31002-31002] CLUSTER web http tcp TASK_RUNNING 10.0.0.12"}; !reflect.DeepEqual(found, want) {
			t.Errorf("%s: %q", path, found)
		}
	}
}

// exporterState is what an exporter reads of /state beside metrics.
type exporterState struct {
	Slaves []struct {
		PID        string
		Used       resources `json:"used_resources"`
		Unreserved resources `json:"unreserved_resources"`
		Total      resources `json:"resources"`
	}
	Frameworks []struct {
		ID, Name  string
		Active    bool
		Tasks     []struct{ Name, ID, ExecutorID, FrameworkID, SlaveID, State string }
		Completed []struct{ ID, State string } `json:"completed_tasks"`
	}
}

type resources struct {
	CPUs, Disk, Mem float64
	Ports           string
}

func TestExportersReadTheState(t *testing.T) {
	w := known(t, auth.Anybody)
	var s exporterState
	w.read("/state", "", &s)
	oak := s.Slaves[slices.IndexFunc(s.Slaves, func(n struct {
		PID        string
		Used       resources `json:"used_resources"`
		Unreserved resources `json:"unreserved_resources"`
		Total      resources `json:"resources"`
	}) bool {
		return strings.Contains(n.PID, "10.0.0.11")
	})]
	if want := (resources{4, 102400, 8192, "[31000-31009]"}); oak.Total != want || oak.Unreserved != want {
		t.Errorf("%+v", oak)
	}
	if want := (resources{0.5, 0, 256, "[31005-31006]"}); oak.Used != want {
		t.Errorf("%+v", oak.Used)
	}
	names := []string{}
	for _, f := range s.Frameworks {
		names = append(names, f.ID+" "+f.Name)
		if !f.Active {
			t.Errorf("%s is not active", f.ID)
		}
	}
	if want := []string{"f1 marathon", "f2 chronos", "mesita mesita"}; !reflect.DeepEqual(names, want) {
		t.Errorf("%q", names)
	}
}

// What an exporter counts, by the names that it knows.
func TestExportersReadMetrics(t *testing.T) {
	w := known(t, auth.Anybody)
	for _, path := range []string{"/metrics/snapshot", "/master/metrics/snapshot?timeout=100ms"} {
		got := map[string]float64{}
		w.read(path, "", &got)
		for name, want := range map[string]float64{
			"master/elected": 1, "master/uptime_secs": 3600, "master/slaves_active": 2, "master/slaves_inactive": 0, "master/slaves_connected": 2, "master/slaves_disconnected": 0, "master/slaves_unreachable": 0,
			"master/frameworks_active": 2, "master/frameworks_connected": 2, "master/frameworks_disconnected": 0, "master/frameworks_inactive": 0, "master/outstanding_offers": 1,
			"master/cpus_total": 6, "master/cpus_used": 0.75, "master/cpus_percent": 0.125, "master/cpus_revocable_total": 0, "master/mem_total": 12288, "master/mem_used": 384, "master/disk_total": 102400, "master/gpus_total": 0, "master/gpus_percent": 0,
			"master/tasks_running": 2, "master/tasks_staging": 0, "master/tasks_starting": 0, "master/tasks_killing": 0, "master/tasks_unreachable": 0, "master/messages_decline_offers": 7,
			"allocator/mesos/resources/cpus/total": 6, "allocator/mesos/resources/cpus/offered_or_allocated": 1.75, "allocator/mesos/roles/prod/shares/dominant": 0.125,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s: %s is %v, not %v", path, name, v, want)
			}
		}
		for _, name := range []string{"system/cpus_total", "system/load_1min", "system/load_5min", "system/load_15min", "system/mem_total_bytes", "system/mem_free_bytes"} {
			if _, ok := got[name]; !ok {
				t.Errorf("%s has no %s", path, name)
			}
		}
		for name := range got {
			if strings.HasPrefix(name, "master/tasks_finished") {
				t.Errorf("%s is told, and nobody counts it", name)
			}
		}
	}
}

// Who asks by a call of the operator API is told the same.
func TestFiguresAreThoseOfTheSnapshot(t *testing.T) {
	w := known(t, auth.Anybody)
	page, got := map[string]float64{}, map[string]float64{}
	w.read("/metrics/snapshot", "", &page)
	Figures(master{}, rows.Of(w.store.View(), auth.Identity{Role: api.RoleAdmin}), testTime, func(name string, value float64) { got[name] = value })
	for name := range page {
		if strings.HasPrefix(name, "system/") {
			delete(page, name) // of the machine, another moment later
			delete(got, name)
		}
	}
	if len(page) < 40 || !maps.Equal(page, got) {
		t.Errorf("%v, not %v", got, page)
	}
}

// A node that does not lead says so, and tells of itself alone: who adds up all masters
// counts nothing twice.
func TestMetricsOfFollowers(t *testing.T) {
	w := newWorld(t, auth.Anybody, true)
	got := map[string]float64{}
	w.read("/metrics/snapshot", "", &got)
	if v, ok := got["master/elected"]; !ok || v != 0 || got["system/cpus_total"] == 0 {
		t.Errorf("%v", got)
	}
	for name := range got {
		if !strings.HasPrefix(name, "system/") && name != "master/elected" && name != "master/uptime_secs" {
			t.Errorf("it tells %s", name)
		}
	}
	for path, want := range map[string]int{"/health": 200, "/version": 200, "/flags": 200, "/system/stats.json": 200} {
		if status, _, body := w.get(path, ""); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

// Dashboards draw from the summary.
func TestSummaryCountsTasks(t *testing.T) {
	w := known(t, auth.Anybody)
	var s struct {
		Hostname, Cluster string
		Slaves            []struct {
			ID           string
			Running      int      `json:"TASK_RUNNING"`
			Finished     *int     `json:"TASK_FINISHED"`
			FrameworkIDs []string `json:"framework_ids"`
		}
		Frameworks []struct {
			ID       string
			Used     resources `json:"used_resources"`
			Offered  resources `json:"offered_resources"`
			Running  int       `json:"TASK_RUNNING"`
			SlaveIDs []string  `json:"slave_ids"`
		}
	}
	w.read("/state-summary", "", &s)
	nodes := map[string][]string{"elm": {"mesita"}, "oak": {"f1"}}
	for _, n := range s.Slaves {
		if n.Running != 1 || n.Finished == nil || !reflect.DeepEqual(n.FrameworkIDs, nodes[n.ID]) {
			t.Errorf("%+v", n)
		}
	}
	if s.Hostname != "oak" || s.Cluster != "pine" || len(s.Slaves) != 2 || len(s.Frameworks) != 3 {
		t.Fatalf("%+v", s)
	}
	for i, want := range []resources{{CPUs: 0.5, Mem: 256}, {}, {CPUs: 0.25, Mem: 128}} {
		if got := s.Frameworks[i].Used; got != want {
			t.Errorf("%s: %+v", s.Frameworks[i].ID, got)
		}
	}
	if got := s.Frameworks[1].Offered; got != (resources{CPUs: 1, Mem: 1024}) {
		t.Errorf("%+v", got)
	}
}
