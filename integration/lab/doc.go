// Package lab runs clusters of the real binary on one machine: each node in a
// network namespace of its own, joined by a switch in this process that can
// cut, delay and lose packets per direction of each link. It owns the nodes'
// processes, namespaces, folders and slices, and removes all of them at the
// end. It knows nothing of what is tested: the tests of package integration and
// the commands integration/chaos and integration/attack call it. It needs root.
package lab
