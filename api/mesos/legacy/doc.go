// Package legacy answers what tools ask a Mesos master beside its v1 API: the state in
// JSON with plain ids and amounts, and metrics by Mesos' names. Dashboards, exporters and
// name servers read these.
//
// It owns the shape of these answers, what a caller sees of them, and that a large one
// costs its reader and nobody else. What is there is read of one view of the state.
// Package mesos puts its routes beside its own.
//
// What waits for a node is not a task yet, as Mesos has none such. What the pages for
// machines of libprocess tell (help, processes, profiler, log levels) is not here: there
// is no libprocess.
package legacy

import (
	"time"

	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// Master is this node as frameworks know it.
type Master interface {
	// Master is this node as the leader, and since when it is; not if it is none.
	Master() (info *v1.MasterInfo, since time.Time, ok bool)
	Started() time.Time
	// Calls counts what frameworks called for since this node started, by the names that
	// Mesos has for it.
	Calls(yield func(name string, n uint64) bool)
}

// Config is what the routes need; all of it.
type Config struct {
	Master Master
}
