// Package disk is the raft folder of a node: the log with the votes, the
// snapshots, and whose folder it is.
//
// It owns how all that lies on disk, that a power cut leaves it whole, and that
// nothing is read back that is not what was written: each entry, vote and
// snapshot has a checksum, and the log says of itself what it must hold. It
// does not own what to do about damage, which it names by file.
//
// Package consensus opens it and hands it to Raft.
package disk
