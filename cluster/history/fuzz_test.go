package history

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

func seedEvents() []api.Event {
	at := time.Unix(1e9, 0).UTC()
	return []api.Event{{Index: 7, Time: at, Kind: api.EventsMissed, Object: "o", Message: "m"},
		{Index: 8, Time: at, Kind: "task.running", Task: &api.Task{ID: "a.0", Job: "a", Ports: map[string]int{"http": 80}, Resources: api.Resources{CPUs: 100, Mem: 1 << 20}}}}
}

// FuzzSegment: whatever is in a file of the history is read or refused. A frame
// whose sums are right is read beyond them too: see FuzzEvents.
func FuzzSegment(f *testing.F) {
	c := newCoder()
	b := &batch{}
	for _, e := range seedEvents() {
		if err := c.add(b, &e); err != nil {
			f.Fatal(err)
		}
	}
	one, err := c.frame(b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append([]byte(preamble), one...))
	f.Add([]byte(preamble))
	f.Fuzz(func(t *testing.T, file []byte) {
		in := &window{r: bytes.NewReader(file), size: int64(len(file))}
		_ = in.frames(true, func(fr frame, _ bloom) error { // an error is what damage is to give
			_, err := newCoder().events(bytes.NewReader(file), fr)
			return err
		})
	})
}

// FuzzEvents: the events of a frame, below its sums and its compression.
func FuzzEvents(f *testing.F) {
	c := newCoder()
	b := &batch{}
	for _, e := range seedEvents() {
		if err := c.add(b, &e); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(b.raw)
	f.Add(binary.AppendUvarint(nil, 1<<40))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var packed bytes.Buffer
		w, err := flate.NewWriter(&packed, flate.NoCompression)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write(raw)
		if err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		events, err := newCoder().unpack(&packed, len(raw))
		if err != nil {
			return
		}
		again := &batch{}
		out := newCoder()
		for i := range events {
			if err := out.add(again, &events[i]); err != nil {
				t.Fatalf("event %d was read, and cannot be written: %v", i, err)
			}
		}
	})
}
