// Package consensus is Raft for one node: the log and the snapshots on disk,
// the elections, who takes part, and the way of a command into the log.
//
// It owns the raft folder of the data folder and everything that runs on it:
// opening it, making a cluster of one voter, proposing (many waiting commands
// share one log entry), applying committed entries to the fsm.Store, taking
// snapshots, changing who votes, and recovering from a lost quorum.
//
// It does not own what a command means (fsm), who should vote (cluster), how
// nodes reach each other (the stream layer is handed in), or what the folder
// looks like (disk).
//
// The agent in package cluster opens it, runs it, and calls it; the store
// proposes through it.
package consensus
