package outbox

import (
	"sync/atomic"
	"testing"

	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// Once all hold too much who holds much ends, and nobody who holds little.
func TestWhoHoldsLittleIsKept(t *testing.T) {
	e := &v1.SchedulerEvent{Type: new(v1.SchedulerEventTypeHeartbeat)}
	var total atomic.Int64
	most := Bounds{Bytes: few * 100, Count: 1000, All: few * 50}
	large, small := New(wire.JSON, most, &total), New(wire.JSON, most, &total)
	for total.Load() <= most.All-100 {
		large.Push(e, nil)
	}
	before, _ := large.Waiting()
	for range 3 {
		small.Push(e, nil)
		of, _ := small.Waiting()
		if all, _ := large.Waiting(); of != 1 || all != before {
			t.Fatalf("%d and %d events wait", all, of)
		}
		small.Take()
	}
	total.Add(most.All) // of others
	small.Push(e, nil)
	small.Push(e, nil) // while it holds something
	if _, _, ended := small.Take(); ended {
		t.Error("it ends for what others hold")
	}
	large.Push(e, nil)
	if _, _, ended := large.Take(); !ended {
		t.Error("who holds much does not end")
	}
}
