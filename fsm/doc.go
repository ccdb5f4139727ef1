// Package fsm is the replicated state: typed commands, their pure apply, frozen
// views for readers, events, snapshot and restore.
//
// It owns every fact that the cluster agrees on. It does not own how agreement
// is reached (cluster/consensus proposes and calls Apply), nor any decision
// (control loops read a View, decide, and Propose). Apply uses no clock, no
// randomness, no map order and no I/O, so that every replica that applied the
// same entries holds the same bytes; times and secrets come in the command.
//
// There are two ways in: Store.View to read and Store.Propose to write. Values
// that a view returns are shared and never changed in place: copy, change, put.
package fsm
