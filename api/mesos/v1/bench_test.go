package v1_test

import (
	"fmt"
	"testing"

	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

func scalar(name string, value float64) *v1.Resource {
	return &v1.Resource{Name: name, Scalar: &v1.ValueScalar{Value: value}, AllocationInfo: &v1.ResourceAllocationInfo{Role: new("web")}}
}

func resources() []*v1.Resource {
	return []*v1.Resource{scalar("cpus", 8), scalar("mem", 8192), scalar("disk", 10000), {
		Name: "ports", Type: v1.ValueTypeRanges, Ranges: &v1.ValueRanges{Range: []*v1.ValueRange{{Begin: 31000, End: 32000}}},
		AllocationInfo: &v1.ResourceAllocationInfo{Role: new("web")},
	}}
}

func offers(n int) *v1.SchedulerEvent {
	o := &v1.SchedulerEventOffers{}
	for i := range n {
		o.Offers = append(o.Offers, &v1.Offer{
			ID: &v1.OfferID{Value: fmt.Sprint("8e2c-O", i)}, FrameworkID: &v1.FrameworkID{Value: "8e2c-0000"}, AgentID: &v1.AgentID{Value: fmt.Sprint("8e2c-S", i)},
			Hostname: "n1", Resources: resources(), AllocationInfo: &v1.ResourceAllocationInfo{Role: new("web")},
			URL:        &v1.URL{Scheme: "http", Address: &v1.Address{Hostname: new("n1"), IP: new("10.0.0.11"), Port: 5051}, Path: new("/slave(1)")},
			Attributes: []*v1.Attribute{{Name: "rack", Type: v1.ValueTypeText, Text: &v1.ValueText{Value: "r1"}}},
		})
	}
	return &v1.SchedulerEvent{Type: new(v1.SchedulerEventTypeOffers), Offers: o}
}

func accept(n int) *v1.SchedulerCall {
	l := &v1.OfferOperationLaunch{}
	for i := range n {
		l.TaskInfos = append(l.TaskInfos, &v1.TaskInfo{
			Name: fmt.Sprint("Task ", i), TaskID: &v1.TaskID{Value: fmt.Sprint(i)}, AgentID: &v1.AgentID{Value: "8e2c-S0"},
			Resources: []*v1.Resource{scalar("cpus", 1), scalar("mem", 64)},
			Command: &v1.CommandInfo{Value: new("sleep 1000"), Environment: &v1.Environment{
				Variables: []*v1.EnvironmentVariable{{Name: "PORT", Value: new("31000")}},
			}},
		})
	}
	return &v1.SchedulerCall{Type: new(v1.SchedulerCallTypeAccept), FrameworkID: &v1.FrameworkID{Value: "8e2c-0000"}, Accept: &v1.SchedulerCallAccept{
		OfferIDs:   []*v1.OfferID{{Value: "8e2c-O1"}},
		Operations: []*v1.OfferOperation{{Type: new(v1.OfferOperationTypeLaunch), Launch: l}},
		Filters:    &v1.Filters{RefuseSeconds: new(0.5)},
	}}
}

func BenchmarkMarshal(b *testing.B) {
	for _, c := range []struct {
		name string
		of   any
	}{{"offers", offers(100)}, {"accept", accept(100)}} {
		for _, f := range []wire.Format{wire.JSON, wire.Protobuf} {
			b.Run(c.name+"/"+f.String(), func(b *testing.B) {
				b.ReportAllocs()
				var buf []byte
				for b.Loop() {
					buf, _ = wire.Append(f, buf[:0], c.of)
				}
				b.SetBytes(int64(len(buf)))
			})
		}
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	for _, c := range []struct {
		name string
		of   any
		into any
	}{{"offers", offers(100), &v1.SchedulerEvent{}}, {"accept", accept(100), &v1.SchedulerCall{}}} {
		for _, f := range []wire.Format{wire.JSON, wire.Protobuf} {
			data, err := wire.Marshal(f, c.of)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(c.name+"/"+f.String(), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					if err := wire.Unmarshal(f, data, c.into); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
