package fsm

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/mesita/mesita/api"
)

// weighed measures what values keep alive: what is pointed to twice counts once.
type weighed map[unsafe.Pointer]bool

func (w weighed) of(v reflect.Value) (n int) {
	first := func(p unsafe.Pointer) bool {
		had := w[p]
		w[p] = true
		return !had
	}
	switch v.Kind() {
	case reflect.String:
		if v.Len() > 0 && first(unsafe.Pointer(unsafe.StringData(v.String()))) {
			return v.Len()
		}
	case reflect.Pointer:
		if !v.IsNil() && first(v.UnsafePointer()) {
			return int(v.Type().Elem().Size()) + w.of(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "loc" { // of a time
				n += w.of(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Cap() == 0 || !first(v.UnsafePointer()) {
			return 0
		}
		n = v.Cap() * int(v.Type().Elem().Size())
		for all, i := v.Slice(0, v.Cap()), 0; i < v.Cap(); i++ { // also what is behind the end
			n += w.of(all.Index(i))
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			n += int(it.Key().Type().Size()+it.Value().Type().Size()) + w.of(it.Key()) + w.of(it.Value())
		}
	}
	return n
}

// keptAlive is what the payloads of events keep alive.
func keptAlive(events []api.Event) (n int) {
	w := weighed{}
	for i := range events {
		n += w.of(reflect.ValueOf(events[i].Payload))
	}
	return n
}

// heavy makes what a command says as large as a deployer can, or larger.
func heavy(g *generator, c Command) {
	var spec *api.JobSpec
	switch c := c.(type) {
	case *JobCreate:
		spec = c.Spec
	case *JobUpdate:
		spec = c.Spec
	case *JobSet:
		spec = c.Spec
	case *PartitionPut:
		c.Partition.Users = append(c.Partition.Users, strings.Repeat("u", g.IntN(1<<20)))
	case *NodeHello:
		c.Hello.Attrs["text"] = strings.Repeat("a", g.IntN(256<<10))
	}
	if spec != nil {
		text := func() string { return strings.Repeat("x", g.IntN(512<<10)) }
		spec.Env, spec.Labels = map[string]string{"TEXT": text()}, map[string]string{"text": text()}
		spec.Command = append(spec.Command, text())
	}
}

// Whatever is put in, what a ring keeps alive is bounded, beside what its newest event
// tells of; all events stay, and have what they tell of from one on.
func TestEventsKeepBoundedBytesAlive(t *testing.T) {
	for seed := range uint64(2) {
		s, g := NewStore(nil), newGenerator(seed+3000)
		do := func(c Command) {
			if s.View().Allows(c) != nil {
				return
			}
			if _, err := s.Propose(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		do(testInit())
		do(&TokenCreate{Meta: g.meta(), Token: &api.Token{ID: "t1", Kind: api.TokenJoin, Hash: "h"}})
		for i := range 1500 {
			c := g.command(s.View())
			heavy(g, c)
			if do(c); i%50 == 0 {
				checkKept(t, seed, &s.events)
			}
		}
		if s.PayloadsAfter() == 0 {
			t.Fatalf("seed %d: nothing was let go: the test tests little", seed)
		}
		checkBallast(t, &s.events)
	}
}

func checkKept(t *testing.T, seed uint64, r *ring) {
	t.Helper()
	last := len(r.events) - 1
	if n := keptAlive(r.events[:last]); n > ballastBytes {
		t.Fatalf("seed %d: the events keep %d bytes alive, at most %d may be", seed, n, ballastBytes)
	}
	for i := range r.events {
		e := &r.events[i]
		noun, _, _ := strings.Cut(string(e.Kind), ".")
		about := slices.Contains([]string{"job", "task", "node", "partition", "incident"}, noun)
		if has := e.Payload != (api.Payload{}); has != (about && e.Index > r.bare) {
			t.Fatalf("seed %d: event %d, %s, has what it is about: %t; it was let go up to %d", seed, e.Index, e.Kind, has, r.bare)
		}
	}
}

// checkBallast checks that as much is let go as was taken.
func checkBallast(t *testing.T, r *ring) {
	t.Helper()
	if r.events[0].Index != 1 || len(r.own) != len(r.events) {
		t.Errorf("events from %d on are kept, and the weights of %d: want all %d", r.events[0].Index, len(r.own), len(r.events))
	}
	r.strip(func(int) bool { return true })
	if r.held.bytes != 0 || len(r.held.versions) != 0 || len(r.held.specs) != 0 {
		t.Errorf("without payloads the ring holds %d bytes, %d versions, %d specs", r.held.bytes, len(r.held.versions), len(r.held.specs))
	}
}
