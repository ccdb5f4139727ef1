// Package allocator decides who may have what: in which order partitions are
// served, what each is entitled to, who must give back what was lent, how
// guarantees move, and how long offers stand.
//
// The order of service is: guarantees that are not met, by priority; then
// weighted dominant resource fairness (Ghodsi et al., Dominant Resource
// Fairness, NSDI 2011) over what is left, level by level of the tree; never
// above a limit.
//
// It owns fairness between partitions; it does not own the order of jobs
// inside one, nor where a task goes (the scheduler), nor which tasks there are
// (the controller). The cluster agent runs it on the leader and hands its
// rounds to the scheduler; api/server asks it for shares and plans.
package allocator
