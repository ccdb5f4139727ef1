// Package api holds mesita's nouns: jobs, tasks, nodes, partitions, offers,
// tokens, resources, events and errors, each with its validation.
//
// The same types travel in the HTTP API (JSON), in the replicated log and in
// snapshots, so there is no second set of types to keep in step. The package
// imports the standard library only and does no I/O; everything else in mesita
// imports it, and it imports nothing of mesita's.
package api
