package wire

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A SyntaxError says where data is not JSON, or not protobuf.
type SyntaxError struct {
	Offset int // the bytes before it; protobuf: of the message that Path names
	Path   string
	Reason string
}

func (e *SyntaxError) Error() string {
	if e.Path != "" {
		return fmt.Sprintf("%s: byte %d: %s", e.Path, e.Offset, e.Reason)
	}
	return fmt.Sprintf("byte %d: %s", e.Offset, e.Reason)
}

// A FieldError says of a field that what it was given does not fit.
type FieldError struct {
	Path   string // accept.operations[0].type; empty for the message itself
	Reason string
}

func (e *FieldError) Error() string {
	if e.Path == "" {
		return e.Reason
	}
	return fmt.Sprintf("%s for field '%s'", e.Reason, e.Path)
}

// NotInitialized says which required fields are missing.
type NotInitialized struct {
	Fields []string // their paths: subscribe.framework_info.user
}

func (e *NotInitialized) Error() string { return "Not initialized: " + strings.Join(e.Fields, ", ") }

// maxMissing is how many missing fields are named; more says nothing new.
const maxMissing = 20

// missing collects the paths of required fields that are not there.
type missing struct {
	paths []string
}

func (m *missing) err() error {
	if len(m.paths) == 0 {
		return nil
	}
	return &NotInitialized{m.paths}
}

func (m *missing) full() bool { return len(m.paths) >= maxMissing }

// add names the required fields of p that were not seen, before those of its
// parts, which were added after the first n.
func (m *missing) add(p *plan, seen uint64, at path, n int) {
	if seen == p.required || m.full() {
		return
	}
	var own []string
	for i := range p.fields {
		if f := &p.fields[i]; f.bit&^seen != 0 {
			own = append(own, at.to(f.name))
		}
	}
	m.paths = slices.Insert(m.paths, n, own...)
	m.paths = m.paths[:min(len(m.paths), maxMissing)]
}

// A path is where in a message something is.
type path []step

type step struct {
	field *field
	index int    // in a repeated field
	key   string // in a map
}

func (p path) to(name string) string {
	if len(p) == 0 {
		return name
	}
	return p.String() + "." + name
}

func (p path) String() string {
	var b strings.Builder
	for i, s := range p {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(s.field.name)
		switch s.field.shape {
		case repeated:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case mapped:
			b.WriteString("[" + strconv.Quote(s.key) + "]")
		}
	}
	return b.String()
}
