package fsm

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/google/btree"
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
)

type snapshotHeader struct {
	Version   int            `json:"version"`
	Index     uint64         `json:"index"`
	Event     uint64         `json:"event"`
	JobSeq    uint64         `json:"jobSeq"`
	Incident  uint64         `json:"incident,omitempty"`
	Cluster   *api.Cluster   `json:"cluster"`
	Authority *api.Authority `json:"authority"`
	Level     Level          `json:"level,omitempty"`
}

type snapshotBase struct {
	Job  string `json:"job"`
	Base int    `json:"base"`
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
	t := &s.view.t
	rw := &recordWriter{w: b}
	version := snapshotVersion
	if t.level == 0 {
		version = levelVersion
	}
	rw.put(recHeader, snapshotHeader{version, t.index, t.event, t.jobSeq, t.incidentN, t.cluster, t.authority, t.level})
	putAll(rw, recPartition, t.partitions)
	t.nodes.Ascend(func(r *nodeRow) bool { return rw.put(recNode, r.node) })
	putAll(rw, recJob, t.jobs)
	putAll(rw, recTask, t.tasks)
	putAll(rw, recOffer, t.offers)
	putAll(rw, recToken, t.tokens)
	putAll(rw, recBlob, t.blobs)
	t.bases.Ascend(func(r baseRow) bool { return rw.put(recBase, snapshotBase{r.job, r.base}) })
	putAll(rw, recIncident, t.incidents)
	if t.does(IntegerLearning) {
		putAll(rw, recLearnedRuntime, t.runtimes)
		putAll(rw, recLearnedUse, t.uses)
	} else {
		t.runtimes.Ascend(func(r *runtimeRow) bool {
			return rw.put(recRuntime, snapshotRuntime{r.Key, r.Count, r.floats.Height, r.floats.Pos, r.Used})
		})
		t.uses.Ascend(func(r *useRow) bool { return rw.put(recUse, snapshotUse{r.Partition, r.User, r.float, r.At}) })
	}
	for i := range s.events {
		rw.put(recEvent, &s.events[i])
	}
	rw.put(recEnd, struct{}{})
	if rw.err != nil {
		return fmt.Errorf("write snapshot: %w", rw.err)
	}
	return errors.Join(b.Flush(), z.Close())
}

type recordWriter struct {
	w   *bufio.Writer
	err error
}

func (r *recordWriter) put(kind byte, v any) bool {
	if r.err != nil {
		return false
	}
	b, err := marshal(v)
	if err != nil {
		r.err = err
		return false
	}
	head := binary.AppendUvarint([]byte{kind}, uint64(len(b)))
	_, e1 := r.w.Write(head)
	_, e2 := r.w.Write(b)
	r.err = errors.Join(e1, e2)
	return r.err == nil
}

func putAll[T any](r *recordWriter, kind byte, t *btree.BTreeG[T]) {
	t.Ascend(func(v T) bool { return r.put(kind, v) })
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
	s.events.replace(events)
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
	x := &tx{tables: new(tables), emit: func(api.Event) {}, touch: func(Table, string) {}}
	*x.tables = newTables()
	var events []api.Event
	for {
		kind, body, err := readRecord(b)
		if err != nil {
			return tables{}, nil, err
		}
		if kind == recEnd {
			return *x.tables, events, nil
		}
		if err := x.restore(kind, body, &events); err != nil {
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

func (x *tx) restore(kind byte, body []byte, events *[]api.Event) error {
	switch kind {
	case recHeader:
		var h snapshotHeader
		if err := unmarshal(body, &h); err != nil {
			return err
		}
		if h.Version > snapshotVersion {
			return fmt.Errorf("it has version %d, this program reads up to %d: upgrade mesita on this node", h.Version, snapshotVersion)
		}
		if err := h.Level.known(); err != nil {
			return err
		}
		x.level = h.Level
		x.index, x.event, x.jobSeq, x.incidentN, x.cluster, x.authority = h.Index, h.Event, h.JobSeq, h.Incident, h.Cluster, h.Authority
	case recPartition:
		return restoreTo(body, func(p *api.Partition) {
			p.Normalize() // one written by version 1 lacks what came later
			x.partitions.ReplaceOrInsert(p)
		})
	case recNode:
		return restoreTo(body, x.putNode)
	case recJob:
		return restoreTo(body, func(j *api.Job) { x.indexJob(nil, j); x.jobs.ReplaceOrInsert(j) })
	case recTask:
		return restoreTo(body, func(t *api.Task) { x.indexTask(nil, t); x.tasks.ReplaceOrInsert(t) })
	case recOffer:
		return restoreTo(body, func(o *api.Offer) { x.putOffer(o) })
	case recToken:
		return restoreTo(body, func(t *api.Token) { x.tokens.ReplaceOrInsert(t) })
	case recBlob:
		return restoreTo(body, func(b *api.Blob) { x.blobs.ReplaceOrInsert(b) })
	case recBase:
		return restoreTo(body, func(b *snapshotBase) { x.bases.ReplaceOrInsert(baseRow{b.Job, b.Base}) })
	case recIncident:
		return restoreTo(body, func(n *api.Incident) {
			x.incidents.ReplaceOrInsert(n)
			x.newest.ReplaceOrInsert(incidentKey{n.Kind, n.Object, n.ID})
		})
	case recRuntime:
		return restoreTo(body, func(r *snapshotRuntime) {
			x.putRuntime(&runtimeRow{Key: r.Key, Count: r.Count, Used: r.Used, floats: &floatMarkers{r.Height, r.Pos}})
		})
	case recUse:
		return restoreTo(body, func(u *snapshotUse) {
			x.uses.ReplaceOrInsert(&useRow{Partition: u.Partition, User: u.User, At: u.At, float: u.Value})
		})
	case recLearnedRuntime:
		return restoreTo(body, x.putRuntime)
	case recLearnedUse:
		return restoreTo(body, func(u *useRow) { x.uses.ReplaceOrInsert(u) })
	case recEvent:
		return restoreTo(body, func(e *api.Event) { *events = append(*events, *e) })
	default:
		return fmt.Errorf("record kind %d is unknown: upgrade mesita on this node", kind)
	}
	return nil
}

func restoreTo[T any](body []byte, put func(*T)) error {
	v := new(T)
	if err := unmarshal(body, v); err != nil {
		return err
	}
	put(v)
	return nil
}
