// Package server answers mesita's HTTP API: one table of routes, one file of
// handlers per noun, one place that encodes answers and errors.
//
// It reads the replicated state through views and writes it through commands;
// what a request may do, api/auth decides. A node that does not lead relays
// each request to the leader, so any node may be asked. It owns no state, no
// listener and no TLS: the node that runs it hands those in, and with them the
// small interfaces Cluster, Local and Planner.
package server
