// Package offer makes offers: it hands the room that the scheduler's passes leave to
// frameworks, partition by partition in the order of the allocator's rounds, and within
// one to who holds least.
//
// It owns which framework is offered what, and what each of them declined, for how long,
// wants no more of, or asked to see again (Desk): that is known to the leader alone, and
// learned anew by the next one. It does not own the offers, which are in the state, nor
// what becomes of them, nor the connections of frameworks. The cluster agent runs it on
// the leader, and hands its Desk to the API by which frameworks come.
package offer
