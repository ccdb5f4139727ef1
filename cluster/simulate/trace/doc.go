// Package trace reads workload traces: a layout of our own, the instance
// events of the Google cluster trace of 2019, and the batch tasks of the
// Alibaba cluster trace of 2018. It owns the layouts and the bounds of what is
// read, and does nothing with the jobs. The simulator and the command line call
// it.
package trace
