//go:build (amd64 || arm64) && !startbythread

package keeper_test

// byThread reports whether a task is started without a script: the limits of a process
// are set from outside then, when it has been executed, and it is PID 1 of its
// namespace.
const byThread = false
