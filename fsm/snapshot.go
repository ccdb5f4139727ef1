package fsm

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/mesita/mesita/api"
)

// snapshotVersion is raised when an older program could not read the snapshot.
const snapshotVersion = 3

// levelVersion is the version of a snapshot of a cluster at level 0, which
// programs that know no levels read; one of a higher level they refuse.
const levelVersion = 2

// maxRecord bounds one record of a snapshot.
const maxRecord = 64 << 20

// record kinds of a snapshot. Append only.
const (
	recHeader = iota
	recPartition
	recNode
	recJob
	recTask
	recOffer
	recToken
	recBlob
	recBase
	recEvent
	recEnd
	recIncident
	recRuntime
	recUse
	recLearnedRuntime // from the level of IntegerLearning on
	recLearnedUse
	recAccount
	recFramework
	recFrameworkNews
	recReservation
	recLast // is none
)

type snapshotHeader struct {
	Version   int             `json:"version"`
	Index     uint64          `json:"index"`
	Event     uint64          `json:"event"`
	JobSeq    uint64          `json:"jobSeq"`
	Incident  uint64          `json:"incident,omitempty"`
	Cluster   *api.Cluster    `json:"cluster"`
	Authority *api.Authority  `json:"authority"`
	Level     Level           `json:"level,omitempty"`
	Check     *api.StateCheck `json:"check,omitempty"`
	Log       uint64          `json:"log,omitempty"`
}

// Snapshot is the state at one index, ready to be written. Taking it costs
// microseconds; writing it does not block the store.
type Snapshot struct {
	view   *View
	events []api.Event
}

// Snapshot takes a snapshot.
func (s *Store) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Snapshot{view: &View{t: s.t.freeze()}, events: s.events.last(snapshotEvents)}
}

// Index is that of the last log entry in the snapshot.
func (s *Snapshot) Index() uint64 { return s.view.t.index }

// Write writes the snapshot, compressed. Two replicas at the same index write
// the same bytes.
func (s *Snapshot) Write(w io.Writer) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(z, 64<<10)
	rw := newRecordWriter(b)
	s.view.t.records(rw)
	for i := range s.events {
		rw.put(recEvent, &s.events[i])
	}
	rw.put(recEnd, struct{}{})
	if rw.err != nil {
		return fmt.Errorf("write snapshot: %w", rw.err)
	}
	return errors.Join(b.Flush(), z.Close())
}

// records puts all but the events.
func (t *tables) records(rw *recordWriter) {
	version := snapshotVersion
	if t.level == 0 {
		version = levelVersion
	}
	rw.put(recHeader, snapshotHeader{version, t.index, t.event, t.jobSeq, t.incidentN, t.cluster, t.authority, t.level, t.check, t.logHash})
	for _, p := range t.parts() {
		p.write(rw, t.level)
	}
}

// write is records, to any writer.
func (t *tables) write(w io.Writer) error {
	b := bufio.NewWriterSize(w, 64<<10)
	rw := newRecordWriter(b)
	t.records(rw)
	return errors.Join(rw.err, b.Flush())
}

type recordWriter struct {
	w    *bufio.Writer
	err  error
	enc  *codec.Encoder
	body []byte // of the last record, used again
}

func newRecordWriter(w *bufio.Writer) *recordWriter {
	r := &recordWriter{w: w}
	r.enc = codec.NewEncoderBytes(&r.body, handle)
	return r
}

func (r *recordWriter) put(kind byte, v any) bool {
	if r.err != nil {
		return false
	}
	r.body = r.body[:0]
	r.enc.ResetBytes(&r.body)
	if err := r.enc.Encode(v); err != nil {
		r.err = fmt.Errorf("encode %T: %w", v, err)
		return false
	}
	var head [1 + binary.MaxVarintLen64]byte
	head[0] = kind
	n := binary.PutUvarint(head[1:], uint64(len(r.body)))
	_, e1 := r.w.Write(head[:1+n])
	_, e2 := r.w.Write(r.body)
	r.err = errors.Join(e1, e2)
	return r.err == nil
}

// Restore replaces the whole state by a snapshot. On an error nothing changes.
func (s *Store) Restore(r io.Reader) error {
	t, events, err := readSnapshot(r)
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t = t
	s.events.replace(events, t.event)
	s.watch.touchAll()
	s.publish()
	return nil
}

func readSnapshot(r io.Reader) (tables, []api.Event, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return tables{}, nil, err
	}
	b := bufio.NewReaderSize(z, 64<<10)
	x := &tx{tables: new(tables), loading: true, touch: func(Table, string) {}}
	*x.tables = newTables()
	var events []api.Event
	var readers [256]func(*tx, []byte) error
	add := func(record byte, read func(*tx, []byte) error) { readers[record] = read }
	add(recHeader, (*tx).readHeader)
	add(recEvent, func(_ *tx, body []byte) error {
		e, err := decoded[api.Event](body)
		events = append(events, *e)
		return err
	})
	for _, p := range x.parts() {
		p.readers(add)
	}
	for {
		kind, body, err := readRecord(b)
		switch {
		case err != nil:
			return tables{}, nil, err
		case kind == recEnd:
			return *x.tables, events, nil
		case readers[kind] == nil:
			return tables{}, nil, fmt.Errorf("record kind %d is unknown: upgrade mesita on this node", kind)
		}
		if err := readers[kind](x, body); err != nil {
			return tables{}, nil, err
		}
	}
}

func readRecord(b *bufio.Reader) (byte, []byte, error) {
	kind, err := b.ReadByte()
	if err != nil {
		return 0, nil, fmt.Errorf("cut off: %w", err)
	}
	size, err := binary.ReadUvarint(b)
	if err != nil || size > maxRecord {
		return 0, nil, fmt.Errorf("record of %d bytes: damaged: %w", size, err)
	}
	body := make([]byte, size)
	_, err = io.ReadFull(b, body)
	return kind, body, err
}

func (x *tx) readHeader(body []byte) error {
	h, err := decoded[snapshotHeader](body)
	if err != nil {
		return err
	}
	if h.Version > snapshotVersion {
		return fmt.Errorf("it has version %d, this program reads up to %d: upgrade mesita on this node", h.Version, snapshotVersion)
	}
	x.check, x.logHash = h.Check, h.Log
	x.index, x.event, x.jobSeq, x.incidentN, x.cluster, x.authority, x.level = h.Index, h.Event, h.JobSeq, h.Incident, h.Cluster, h.Authority, h.Level
	return h.Level.known()
}
