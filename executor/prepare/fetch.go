package prepare

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/isolation"
)

// What a program of ours needs beside the files that it writes, which is not the task's:
// a task may have less.
const (
	fetchMem  = 256 << 20
	fetchPids = 64
)

// Fetch is the process that brings the files of an attempt into its folder: a program of
// ours, with the task's user, folder and confinement, and no bounds that only its own
// program is to have.
func (p *Preparer) Fetch(id string, t *api.Task, s *api.TaskSpec, program string, args []string) (isolation.Spec, error) {
	ours := &Preparer{Node: p.Node, CPUs: p.CPUs, Mem: p.Mem, Root: p.Root, Hidden: p.Hidden, Folders: p.Folders, Temps: p.Temps, Open: p.Open, Room: p.Room,
		Program: func(string, string) string { return program }}
	of := *s
	of.Program, of.Command, of.Files, of.Ulimits, of.Volumes = "fetch", args, nil, nil, nil
	proc, err := ours.Task(id, t, &of, 0)
	if err != nil {
		return proc, err
	}
	proc.Args = args
	if fetchMem > proc.Limits.Memory { // which is set aside for nobody
		proc.OOMScore = isolation.OOMScore(int64(t.Resources.Mem), int64(p.Mem))
	}
	proc.Limits.Memory, proc.Limits.PIDs = max(proc.Limits.Memory, fetchMem), max(proc.Limits.PIDs, fetchPids)
	return proc, nil
}
