// Package reserve decides what room is kept for a job that cannot start yet:
// on nodes (a Hold) and below a limit (a Quota), from what is free and when the
// tasks there give back what they have.
//
// It only reckons. What runs, when it ends and who may pass a reservation the
// scheduler says, which keeps them from one pass to the next.
package reserve
