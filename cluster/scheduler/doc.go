// Package scheduler decides where tasks run: it filters nodes with a reason
// for each "no", chooses among the rest, and places what fits.
//
// It owns the order of trial inside a partition, the filters, the choice of
// node and of ports, and the words that say why a task waits. It does not own
// which partition goes first (it asks an Order), nor what tasks there are (the
// controller). The cluster agent runs it on the leader; api/server asks it for
// plans and explanations.
package scheduler
