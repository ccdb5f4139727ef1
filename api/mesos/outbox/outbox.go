// Package outbox holds the events of one subscription to a Mesos API until they are
// written, as records. Who tells of something never waits for who reads: beyond its bounds
// an outbox ends, and its reader has to subscribe again.
package outbox

import (
	"sync"
	"sync/atomic"

	"github.com/mesita/mesita/api/mesos/wire"
)

// Bounds are what is held for a reader that does not read.
type Bounds struct {
	Bytes, Count int
	// All is bytes of all that share the total. Beyond it those end that hold more than
	// little already when they are told more: who reads need not end for those who do not.
	All int64
}

// few is which part of its own bound is little.
const few = 64

// Outbox is the events that are on their way to a reader.
type Outbox struct {
	format wire.Format
	most   Bounds
	total  *atomic.Int64
	ready  chan struct{} // one slot: there is something, or it ended

	mu    sync.Mutex
	queue []Record
	bytes int
	last  []byte // is written at the end
	ended bool   // nothing more is queued
}

// Record is an event as it is written.
type Record struct {
	Bytes   []byte
	Written func() // is called once it was; may be nil
}

// New makes an Outbox whose bytes are counted in total, too.
func New(format wire.Format, most Bounds, total *atomic.Int64) *Outbox {
	return &Outbox{format: format, most: most, total: total, ready: make(chan struct{}, 1)}
}

// Push queues an event.
func (o *Outbox) Push(event any, written func()) {
	b, err := wire.Marshal(o.format, event)
	if err != nil {
		o.Close(nil) // it is nothing that can be said: subscribed anew the reader hears what is
		return
	}
	o.Queue(wire.AppendRecord(nil, b), written)
}

// Queue is Push of an event that is a record already, and may be queued elsewhere, too.
func (o *Outbox) Queue(record []byte, written func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return
	}
	all := o.total.Add(int64(len(record)))
	much := all > o.most.All && o.bytes > 0 && o.bytes+len(record) > o.most.Bytes/few
	if o.bytes+len(record) > o.most.Bytes || len(o.queue) >= o.most.Count || much {
		o.total.Add(-int64(o.bytes + len(record)))
		o.ended, o.queue, o.bytes = true, nil, 0
	} else {
		o.queue, o.bytes = append(o.queue, Record{record, written}), o.bytes+len(record)
	}
	o.wake()
}

// Close ends it, with an event at the end if there is something to say: nil is nothing.
func (o *Outbox) Close(last any) {
	var record []byte
	if last != nil {
		if b, err := wire.Marshal(o.format, last); err == nil {
			record = wire.AppendRecord(nil, b)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		o.ended, o.last = true, record
		o.wake()
	}
}

func (o *Outbox) wake() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// Ready says that Take has something.
func (o *Outbox) Ready() <-chan struct{} { return o.ready }

// Forget lets go of what nobody will read.
func (o *Outbox) Forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.total.Add(-int64(o.bytes))
	o.ended, o.queue, o.bytes = true, nil, 0
}

// Waiting is how many events are queued, and their bytes.
func (o *Outbox) Waiting() (count, bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue), o.bytes
}

// Take is what was queued since, and whether that was the last; then last is to be
// written, too, unless it is nil.
func (o *Outbox) Take() (events []Record, last []byte, ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.total.Add(-int64(o.bytes))
	events, o.queue, o.bytes = o.queue, nil, 0
	return events, o.last, o.ended
}
