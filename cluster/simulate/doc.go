// Package simulate runs a workload trace on a simulated cluster in virtual
// time: the same store, controller, allocator and scheduler as in a real
// cluster, with executors that only count time. The same input gives the same
// output, byte for byte.
//
// It owns the reading of traces, the clock, the simulated nodes, and the
// measures and pictures of the outcome. It does not own any decision: who gets
// what and where it goes is decided by the packages that decide it in a
// cluster. The command line calls it.
package simulate
