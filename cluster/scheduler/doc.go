// Package scheduler decides where tasks run: it orders the jobs of each
// partition by its policy, filters nodes with a reason for each "no", chooses
// among the rest by the partition's placement, holds room for the first job
// that does not fit, and names the tasks that must be preempted.
//
// An Engine keeps what it learned from the last view, so that a pass costs what
// changed, not what exists; a fresh one decides the same. It does not own which
// partition goes first and who may take from whom (it asks a Round), nor what
// tasks there are (the controller). The cluster agent runs it on the leader;
// api/server asks the Planner for plans and explanations.
package scheduler
