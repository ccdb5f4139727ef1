package framework

import (
	"cmp"
	"context"
	"maps"
	"math"
	"strconv"
	"time"

	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// Task is a command that a framework starts.
type Task struct {
	ID      string // unique among those of the framework that have not ended
	Name    string // default: the ID
	CPUs    float64
	Mem     int64 // bytes
	Disk    int64 // bytes
	Ports   int   // how many; their numbers are PORT0, PORT1, … in the environment
	Command []string
	Env     map[string]string
	User    string // default: the framework's
	// Info changes what else is said of the task.
	Info func(*v1.TaskInfo)
}

// Offer is room of one node that is the framework's until Offer returns.
type Offer struct {
	*v1.Offer
	CPUs      float64 // what is left of it, after the tasks that were started
	Mem, Disk int64   // bytes
	ports     []v1.ValueRange
	tasks     []*v1.TaskInfo
}

const mebibyte = 1 << 20

func newOffer(o *v1.Offer) *Offer {
	out := &Offer{Offer: o}
	for _, r := range o.Resources {
		amount := 0.0
		if r.Scalar != nil {
			amount = r.Scalar.Value
		}
		switch r.Name {
		case "cpus":
			out.CPUs += amount
		case "mem":
			out.Mem += int64(amount * mebibyte)
		case "disk":
			out.Disk += int64(amount * mebibyte)
		case "ports":
			if r.Ranges != nil {
				for _, g := range r.Ranges.Range {
					out.ports = append(out.ports, *g)
				}
			}
		}
	}
	return out
}

// Node is the name of the node that has the room.
func (o *Offer) Node() string { return o.Hostname }

// thousandths is n as Mesos counts it.
func thousandths(n float64) float64 { return math.Round(n*1000) / 1000 }

// Launch has a task started in the offer once the function that was given it returns; not
// if what is left of the offer is not enough.
func (o *Offer) Launch(t Task) bool {
	if t.CPUs > o.CPUs+1e-9 || t.Mem > o.Mem || t.Disk > o.Disk || t.Ports > o.free() {
		return false
	}
	o.CPUs, o.Mem, o.Disk = thousandths(o.CPUs-t.CPUs), o.Mem-t.Mem, o.Disk-t.Disk
	env := maps.Clone(t.Env)
	if env == nil {
		env = map[string]string{}
	}
	info := &v1.TaskInfo{Name: cmp.Or(t.Name, t.ID), TaskID: &v1.TaskID{Value: t.ID}, AgentID: o.AgentID}
	scalar := func(name string, n float64) {
		if n > 0 {
			info.Resources = append(info.Resources, &v1.Resource{Name: name, Type: v1.ValueTypeScalar, Scalar: &v1.ValueScalar{Value: n}})
		}
	}
	scalar("cpus", t.CPUs)
	scalar("mem", float64(t.Mem)/mebibyte)
	scalar("disk", float64(t.Disk)/mebibyte)
	ports := &v1.ValueRanges{}
	for i := range t.Ports {
		p := o.port()
		env["PORT"+strconv.Itoa(i)] = strconv.FormatUint(p, 10)
		ports.Range = append(ports.Range, &v1.ValueRange{Begin: p, End: p})
	}
	if t.Ports > 0 {
		info.Resources = append(info.Resources, &v1.Resource{Name: "ports", Type: v1.ValueTypeRanges, Ranges: ports})
	}
	info.Command = &v1.CommandInfo{Shell: new(false), Arguments: t.Command}
	if len(t.Command) > 0 {
		info.Command.Value = &t.Command[0]
	}
	if t.User != "" {
		info.Command.User = &t.User
	}
	if len(env) > 0 {
		info.Command.Environment = &v1.Environment{}
		for k, v := range env {
			info.Command.Environment.Variables = append(info.Command.Environment.Variables, &v1.EnvironmentVariable{Name: k, Value: &v})
		}
	}
	if t.Info != nil {
		t.Info(info)
	}
	o.tasks = append(o.tasks, info)
	return true
}

// free is how many ports are left.
func (o *Offer) free() (n int) {
	for _, r := range o.ports {
		n += int(r.End - r.Begin + 1)
	}
	return n
}

// port takes the first port that is left.
func (o *Offer) port() uint64 {
	r := &o.ports[0]
	p := r.Begin
	if r.Begin++; r.Begin > r.End {
		o.ports = o.ports[1:]
	}
	return p
}

const defaultRefuse = 5 * time.Second

// offered has the scheduler look at an offer, and answers it.
func (f *Framework) offered(ctx context.Context, raw *v1.Offer) error {
	o := newOffer(raw)
	if f.Offer != nil {
		f.Offer(o)
	}
	if f.over() {
		return nil
	}
	ids := []*v1.OfferID{raw.ID}
	if len(o.tasks) == 0 {
		refuse := &v1.Filters{RefuseSeconds: new(cmp.Or(f.Refuse, defaultRefuse).Seconds())}
		return f.send(ctx, v1.SchedulerCallTypeDecline, &v1.SchedulerCall{Decline: &v1.SchedulerCallDecline{OfferIDs: ids, Filters: refuse}})
	}
	f.mu.Lock()
	for _, t := range o.tasks {
		f.live[t.TaskID.Value] = t.AgentID
	}
	f.mu.Unlock()
	// The rest may be offered again at once: there may be more to start.
	return f.send(ctx, v1.SchedulerCallTypeAccept, &v1.SchedulerCall{Accept: &v1.SchedulerCallAccept{OfferIDs: ids, Filters: &v1.Filters{RefuseSeconds: new(0.0)},
		Operations: []*v1.OfferOperation{{Type: new(v1.OfferOperationTypeLaunch), Launch: &v1.OfferOperationLaunch{TaskInfos: o.tasks}}}}})
}
