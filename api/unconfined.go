package api

import (
	"slices"
	"strings"
)

// Part is a part of what confines tasks that may be lifted for one: what it is
// called, and what a task without it may do.
type Part struct{ Name, Help string }

// The parts of a confinement.
const (
	PartSystem       = "system"
	PartCapabilities = "capabilities"
	PartData         = "data"
	PartDevices      = "devices"
	PartIPC          = "ipc"
	PartSyscalls     = "syscalls"
	PartTmp          = "tmp"
)

// Parts are those that there are, by name.
var Parts = []Part{
	{PartCapabilities, "root has all capabilities, and programs like sudo work"},
	{PartData, "the node's data folder can be seen"},
	{PartDevices, "it opens the node's devices"},
	{PartIPC, "shared memory and message queues are the node's"},
	{PartSyscalls, "there is no filter of system calls"},
	{PartSystem, "the kernel's settings in /proc and /sys, and the groups, can be written"},
	{PartTmp, "/tmp and /dev/shm are the node's"},
}

// PartNames lists their names.
func PartNames() string { return eachPart(func(p Part) string { return p.Name }) }

func eachPart(text func(Part) string) string {
	var out []string
	for _, p := range Parts {
		out = append(out, text(p))
	}
	return strings.Join(out, ", ")
}

// Confined reports whether a part confines the task.
func (t *TaskSpec) Confined(part string) bool {
	return !t.Privileged && !slices.Contains(t.Unconfined, part)
}

// Lifts tells what a spec lifts of the usual confinement, by which field; "" if
// nothing. Who sees all processes of a node may signal those of its own user,
// which for root are the daemon and the parent of all tasks, and read the
// environment of others' tasks.
func (t *TaskSpec) Lifts() (field string) {
	switch {
	case t.Privileged:
		return "privileged"
	case len(t.Unconfined) > 0:
		return "unconfined"
	case t.HostPIDs:
		return "hostPIDs"
	}
	return ""
}

func (t *TaskSpec) validateUnconfined() error {
	for _, name := range t.Unconfined {
		if !slices.ContainsFunc(Parts, func(p Part) bool { return p.Name == name }) {
			return FieldErrorf("unconfined", "%q is not part of what confines a task: name one of %s", name,
				eachPart(func(p Part) string { return p.Name + " (" + p.Help + ")" }))
		}
	}
	return nil
}
