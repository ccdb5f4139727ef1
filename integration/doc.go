// Package integration holds the tests that need more than one package: the
// import map, whole clusters in one process on fake time, and clusters of real
// binaries in network namespaces (package lab). It has no code of its own; `go
// test` is its only caller.
package integration
