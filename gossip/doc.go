// Package gossip owns who is there: the members of the cluster as memberlist
// sees them, their addresses and a few words about each, the joining, and the
// gossip key in use.
//
// It does not decide anything. That a member is suspect, failed or left is a
// hint: the leader probes for itself before it acts on one. Nor does it own
// certificates (the stream listener and dialer it is given are mTLS already)
// or membership in Raft. Package cluster calls it, and nothing else does.
//
// memberlist's node name is our node id, so a node that comes back with
// another address is the same node. Meta.Boot, which grows with each start,
// tells which of two addresses is the later one.
package gossip
