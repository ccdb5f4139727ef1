// Package cluster is one running node: it wires keys, the one port, gossip,
// Raft, the executor, the HTTP servers and the leader's loops, and starts and
// stops them in the right order.
//
// It owns identity and the data folder, joining, who votes, who is alive, and
// the way assignments reach and reports leave the executor. It decides nothing
// about jobs: that is the loops' part, which meet only in fsm.Store. api/cli is
// its only caller.
package cluster
