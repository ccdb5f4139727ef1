package api

// FieldRevision is the field that an error names which is about something that was
// changed since it was looked at: what was asked for may be tried again.
const FieldRevision = "revision"

// FieldAgain is the field that an error names which is about a batch that has ended
// and would run again, which has to be asked for.
const FieldAgain = "again"

// FieldLevel is the field that an error names which is about a level that the cluster
// has not come to.
const FieldLevel = "level"

// ApplyRequest is what partitions and jobs shall be like: all of it is done, or
// nothing. What is not named stays as it is.
type ApplyRequest struct {
	Partitions []*Partition `json:"partitions,omitempty"`
	Jobs       []*JobSpec   `json:"jobs,omitempty"`
	Stop       []StopSeen   `json:"stop,omitempty"`  // jobs that shall stop
	Again      bool         `json:"again,omitempty"` // batches that have ended and are to be others run again
}

// StopSeen is a job that shall stop if it is still as it was when that was decided:
// nothing is done if it has another revision.
type StopSeen struct {
	Job      string `json:"job"`
	Revision uint64 `json:"revision,omitempty"` // that the job had when it was looked at
}

// What became of a partition or a job, or would.
const (
	ApplyCreate  = "create"
	ApplyUpdate  = "update"
	ApplyAgain   = "again" // a batch that had ended, and another takes its place
	ApplyNothing = "nothing"
	ApplyStop    = "stop"
)

// Applied is what applying did, or would do, to one partition or job.
type Applied struct {
	Kind    string        `json:"kind"` // partition, service, batch, …
	Name    string        `json:"name"`
	Action  string        `json:"action"`            // create, update, again, nothing or stop
	Version int           `json:"version,omitempty"` // of a job, once it is done
	Changes []FieldChange `json:"changes,omitempty"` // of what is updated
	Plan    *Plan         `json:"plan,omitempty"`    // of a job, with dry_run: where its tasks would go
	Warning string        `json:"warning,omitempty"`
}

// ApplyAnswer is what became of all of an ApplyRequest: partitions, then jobs, in its
// order, then what stops.
type ApplyAnswer struct {
	Items []Applied `json:"items"`
}
