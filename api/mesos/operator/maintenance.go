package operator

import (
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/fsm"
)

// A node is in maintenance while it is drained. It is down, as Mesos says it, once nothing
// runs there. There is no schedule of what will be.

func machineOf(n *api.Node) *v1.MachineID {
	m := &v1.MachineID{Hostname: &n.Name}
	if ip, _, ok := rows.Address(n); ok {
		m.IP = &ip
	}
	return m
}

func (s *Server) maintenanceStatus(a *answer) error {
	st := &v1.ClusterStatus{}
	for n, empty := range a.rows.Drained() {
		if empty {
			st.DownMachines = append(st.DownMachines, machineOf(n))
		} else {
			st.DrainingMachines = append(st.DrainingMachines, &v1.ClusterStatusDrainingMachine{ID: machineOf(n)})
		}
	}
	return a.put(&v1.MasterResponseGetMaintenanceStatus{Status: st})
}

func (s *Server) maintenanceSchedule(a *answer) error {
	sched := &v1.Schedule{}
	for n := range a.rows.Drained() {
		sched.Windows = append(sched.Windows, &v1.Window{MachineIDs: []*v1.MachineID{machineOf(n)}, Unavailability: &v1.Unavailability{Start: &v1.TimeInfo{Nanoseconds: n.Since.UnixNano()}}})
	}
	return a.put(&v1.MasterResponseGetMaintenanceSchedule{Schedule: sched})
}

func (s *Server) startMaintenance(c *exchange.Call, m *v1.MasterCall) error {
	return s.maintain(c, m.StartMaintenance.Machines, "START_MAINTENANCE", true)
}

func (s *Server) stopMaintenance(c *exchange.Call, m *v1.MasterCall) error {
	return s.maintain(c, m.StopMaintenance.Machines, "STOP_MAINTENANCE", false)
}

// maintain drains nodes, from which all has to go at once, or has them resume.
func (s *Server) maintain(c *exchange.Call, machines []*v1.MachineID, what string, drain bool) error {
	noted(c, auth.ManageNodes, "", what)
	if err := auth.May(c.ID, auth.ManageNodes, auth.Object{}); err != nil {
		return err
	}
	if len(machines) == 0 {
		return api.Errorf(api.CodeInvalid, "List of machines is empty")
	}
	v := s.Store.View()
	var cmds []fsm.Command
	for _, m := range machines {
		n, err := machine(v, m)
		if err != nil {
			return err
		}
		by := time.Time{}
		if drain {
			by = c.Now()
		}
		c.Subject.Each = append(c.Subject.Each, exchange.Subject{Object: n.ID, Asked: what})
		cmd := &fsm.NodeDrain{Meta: c.Meta(), ID: n.ID, Drain: drain, By: by}
		t := v.Trial(cmd)
		if t.Err != nil {
			return t.Err
		}
		cmds, v = append(cmds, cmd), t.View
	}
	res, err := s.Store.Propose(c.R.Context(), cmds...)
	if err != nil {
		return err
	}
	for _, r := range res {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

// machine is the node that is meant: what is given of its name and its address has to be
// right, and of no other.
func machine(v *fsm.View, m *v1.MachineID) (found *api.Node, err error) {
	name, ip := v1.Get(m.Hostname), v1.Get(m.IP)
	if name == "" && ip == "" {
		return nil, api.Errorf(api.CodeInvalid, "A machine has neither a hostname nor an IP")
	}
	for n := range v.Nodes() {
		at, _, _ := rows.Address(n)
		if n.State == api.NodeGone || name != "" && !strings.EqualFold(n.Name, name) || ip != "" && ip != at {
			continue
		}
		if found != nil {
			return nil, api.Errorf(api.CodeInvalid, "Several machines have the IP %s: name the one that is meant, as hostname", ip)
		}
		found = n
	}
	if found == nil {
		return nil, api.Errorf(api.CodeInvalid, "Machine '%s' (%s) is not part of the cluster: its hostname is the name of a node, and its IP that node's address", name, ip)
	}
	return found, nil
}
