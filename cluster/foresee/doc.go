// Package foresee says what a change would come to: it applies it to a fork of
// the state, lets the scheduler, the controller and the allocator decide until
// none has anything more to do, with nodes that do at once what they are told,
// and compares what is there then with what is there now.
//
// A forecast has time pass as well: that is how it tells in which order, and when,
// what waits will be served.
//
// It owns no decision and changes nothing. The API server asks it for plans.
package foresee
