// Package order keeps the nodes in the order in which a kind of task prefers them,
// and finds the best one: what is left of each (Slots), an order for each kind
// (Class, which a Book keeps), and one job's turn at it (Seat).
//
// It knows placement, not time: who is served when, what room is kept and who
// is preempted the scheduler decides, which alone calls it.
package order
