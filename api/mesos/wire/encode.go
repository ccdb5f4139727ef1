package wire

import (
	"maps"
	"reflect"
	"slices"
)

// An encoder writes one message, in either form.
type encoder struct {
	at      path
	missing missing
	err     error
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// lacking notes that a required message, the only thing that Go lets one leave
// out, is not there.
func (e *encoder) lacking(f *field) {
	if !e.missing.full() {
		e.missing.paths = append(e.missing.paths, e.at.to(f.name))
	}
}

// enter begins a message that is part of another.
func (e *encoder) enter(s step) bool {
	if len(e.at) >= MaxDepth-1 {
		e.fail(&FieldError{e.at.String(), "Nested too deep"})
		return false
	}
	e.at = append(e.at, s)
	return true
}

func (e *encoder) leave() { e.at = e.at[:len(e.at)-1] }

// isSet reports whether a field has something to write, by itself.
func (f *field) isSet(v reflect.Value) bool {
	switch f.shape {
	case plain:
		return true
	case optional:
		return !v.IsNil() || f.kind == bytesKind && f.bit != 0
	}
	return v.Len() > 0
}

// keys returns a map's keys in order, so that equal messages are equal bytes.
func keys(v reflect.Value) []string {
	all := make(map[string]struct{}, v.Len())
	for it := v.MapRange(); it.Next(); {
		all[it.Key().String()] = struct{}{}
	}
	return slices.Sorted(maps.Keys(all))
}
