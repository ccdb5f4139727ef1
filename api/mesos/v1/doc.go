// Package v1 has the messages of the Mesos v1 HTTP APIs as Go structs: what a
// scheduler, an executor and an operator send and are sent. It owns their
// names, numbers, types and defaults and nothing else; package wire reads and
// writes them, and api/mesos says what they mean.
//
// All but this file and duration.go is generated from testdata/fields.tsv by
// the program in gen. To add a message or a field, add its row there, and run
// go generate.
//
// A scalar that may be left out is a pointer, as is every message; a scalar
// that is required is a value. Messages named Call, Event or Response, which
// several of Mesos' packages have, begin with the name of theirs.
package v1

//go:generate go run ./gen

import "strings"

// Get returns what p points to, or the zero value if it is nil: the value of a
// field that has no default of its own.
func Get[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}

// enumName finds a number in a list of the form NAME=1,NAME=2.
func enumName(names string, number string) string {
	for entry := range strings.SplitSeq(names, ",") {
		if name, n, _ := strings.Cut(entry, "="); n == number {
			return name
		}
	}
	return number
}
