package fsm

import (
	"reflect"
	"time"
	"unsafe"

	"github.com/mesita/mesita/api"
)

// ballastBytes bounds what the payloads in a ring keep alive, in bytes: a spec may have
// hundreds of kilobytes, and each version of it is another.
const ballastBytes = 32 << 20

// ballast weighs what the payloads of events keep alive. What most of the bytes are in,
// specs, is counted once however many rows have it; the rows themselves are counted for
// each event, which is more than they are where several are of one row.
type ballast struct {
	bytes    int
	versions map[versions]*held
	specs    map[*api.JobSpec]*held
}

// versions are those that a row of a job has: most changes of a job leave them as they are.
type versions struct {
	spec    *api.JobSpec
	history *api.JobVersion
	n       int
}

// held is what holds of something, and what it weighs.
type held struct{ holds, bytes int }

// take adds a payload and returns the weight of its own, without that of specs.
func (b *ballast) take(p *api.Payload) int {
	own := 0
	if p.Job != nil {
		own += jobBytes(p.Job)
		b.takeVersions(p.Job)
	}
	if p.Node != nil {
		own += bytesOf(reflect.ValueOf(p.Node))
	}
	if p.Partition != nil {
		own += bytesOf(reflect.ValueOf(p.Partition))
	}
	if p.Incident != nil {
		own += bytesOf(reflect.ValueOf(p.Incident))
	}
	b.bytes += own
	return own
}

// drop takes away a payload of that weight.
func (b *ballast) drop(p *api.Payload, own int) {
	b.bytes -= own
	if p.Job != nil {
		b.dropVersions(p.Job)
	}
}

func versionsOf(j *api.Job) versions {
	return versions{j.Spec, unsafe.SliceData(j.History), len(j.History)}
}

func (b *ballast) takeVersions(j *api.Job) {
	if b.versions == nil {
		b.versions, b.specs = map[versions]*held{}, map[*api.JobSpec]*held{}
	}
	k := versionsOf(j)
	if h := b.versions[k]; h != nil {
		h.holds++
		return
	}
	h := &held{1, len(j.History) * int(unsafe.Sizeof(api.JobVersion{}))}
	b.versions[k] = h
	b.bytes += h.bytes
	b.takeSpec(j.Spec)
	for i := range j.History {
		b.takeSpec(j.History[i].Spec)
	}
}

func (b *ballast) takeSpec(s *api.JobSpec) {
	if h := b.specs[s]; h != nil {
		h.holds++
		return
	}
	h := &held{1, bytesOf(reflect.ValueOf(s))}
	b.specs[s] = h
	b.bytes += h.bytes
}

func (b *ballast) dropVersions(j *api.Job) {
	k := versionsOf(j)
	h := b.versions[k]
	if h.holds--; h.holds > 0 {
		return
	}
	delete(b.versions, k)
	b.bytes -= h.bytes
	b.dropSpec(j.Spec)
	for i := range j.History {
		b.dropSpec(j.History[i].Spec)
	}
}

func (b *ballast) dropSpec(s *api.JobSpec) {
	h := b.specs[s]
	if h.holds--; h.holds == 0 {
		delete(b.specs, s)
		b.bytes -= h.bytes
	}
}

// jobBytes is what a row of a job weighs without its versions. It is asked for with each
// event of a task, and so knows the fields by name.
func jobBytes(j *api.Job) int {
	n := int(unsafe.Sizeof(*j)) + len(j.ID) + len(j.Request) + len(j.Actor) + int(unsafe.Sizeof(*j.ExitCode))
	for i := range j.Places {
		n += int(unsafe.Sizeof(j.Places[i])) + len(j.Places[i].Partition)
	}
	for i := range j.Filled {
		n += int(unsafe.Sizeof(j.Filled[i])) + len(j.Filled[i].Field) + len(j.Filled[i].Partition)
	}
	for i := range j.Avoid {
		a := &j.Avoid[i]
		n += int(unsafe.Sizeof(*a)) + len(a.NodeID) + len(a.Node) + len(a.Reason)
	}
	return n
}

// bytesOf is what a value that is pointed to keeps alive.
func bytesOf(v reflect.Value) int {
	if v.IsNil() {
		return 0
	}
	return int(v.Type().Elem().Size()) + beyond(v.Elem())
}

// mapBytes is what a map needs for each of its entries beside them, about.
const mapBytes = 16

// beyond is what a value keeps alive beside what it is itself.
func beyond(v reflect.Value) (n int) {
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Pointer:
		return bytesOf(v)
	case reflect.Interface:
		if !v.IsNil() {
			return int(v.Elem().Type().Size()) + beyond(v.Elem())
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() { // its zone is everybody's
			return 0
		}
		for i := range v.NumField() {
			n += beyond(v.Field(i))
		}
	case reflect.Slice:
		n = v.Cap() * int(v.Type().Elem().Size())
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			n += beyond(v.Index(i))
		}
	case reflect.Map:
		size := int(v.Type().Key().Size()+v.Type().Elem().Size()) + mapBytes
		n = v.Len() * size
		for it := v.MapRange(); it.Next(); {
			n += beyond(it.Key()) + beyond(it.Value())
		}
	}
	return n
}
