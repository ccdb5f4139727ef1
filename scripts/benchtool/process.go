package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// memory is what a node holds, in MB.
type memory struct {
	own    float64 // of the daemon and the keeper, without pages of the program's file
	shared float64 // of both with such pages, those that both have mapped once
	daemon float64 // of the daemon alone with such pages
}

// memory counts the pages of the program's file as if nobody but this node ran
// it: all that the daemon has mapped, and of the keeper's what is more.
func (n *node) memory() memory {
	d := n.cmd.Process.Pid
	m := memory{own: procMB(d, "status", "RssAnon"), daemon: procMB(d, "status", "VmRSS")}
	file := procMB(d, "status", "RssFile")
	for _, k := range n.keeperPIDs() {
		m.own += procMB(k, "status", "RssAnon")
		file = max(file, procMB(k, "status", "RssFile"))
	}
	m.shared = m.own + file
	return m
}

// kernelStack is what the kernel holds for each thread, in MB.
const kernelStack = 16384 / 1e6

// inits is what the inits of tasks hold, in MB, with their page tables.
func (n *node) inits() float64 {
	sum := 0.0
	for _, k := range n.keeperPIDs() {
		for _, pid := range childrenOf(k) {
			if named(pid, "mesita-init") {
				sum += procMB(pid, "status", "VmRSS") + procMB(pid, "status", "VmPTE") + kernelStack
			}
		}
	}
	return sum
}

func childrenOf(pid int) []int {
	var out []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f) // a thread that ended has none
		for _, c := range strings.Fields(string(b)) {
			n, _ := strconv.Atoi(c)
			out = append(out, n)
		}
	}
	return out
}

// procMB is a line of a file of /proc/PID that is in kB, in MB.
func procMB(pid int, file, key string) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == key+":" {
			kb, _ := strconv.ParseFloat(f[1], 64)
			return kb * 1024 / 1e6
		}
	}
	return 0
}

// cpu is the processor time, in seconds, of the daemon and the keeper, and of
// the keeper's children that have ended.
func (n *node) cpu() (own, children float64) {
	own = cpuTime(n.cmd.Process.Pid)
	for _, pid := range n.keeperPIDs() {
		own += cpuTime(pid)
		children += childTime(pid)
		for _, zygote := range zygotes(pid) {
			children += cpuTime(zygote)
		}
	}
	return own, children
}

// zygotes are the processes that a keeper's children are clones of.
func zygotes(keeper int) []int {
	return slices.DeleteFunc(childrenOf(keeper), func(pid int) bool { return !named(pid, "mesita-zygote") })
}

func named(pid int, want string) bool {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(name)) == want
}

// cpuTime is the processor time a process has used, in seconds. Its clock is
// exact, where /proc counts ticks of 10 ms.
func cpuTime(pid int) float64 {
	const scheduler = 2 // CPUCLOCK_SCHED of a process: see clock_getcpuclockid(3)
	var t unix.Timespec
	if unix.ClockGettime(int32(^pid<<3|scheduler), &t) != nil {
		return 0 // it has ended
	}
	return time.Duration(t.Nano()).Seconds()
}

// childTime is the processor time of a process's children that have ended.
func childTime(pid int) float64 {
	const first = 13 // of /proc/PID/stat behind the name: user, then system
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < first+2 {
		return 0
	}
	user, _ := strconv.ParseFloat(f[first], 64)
	sys, _ := strconv.ParseFloat(f[first+1], 64)
	return (user + sys) / 100
}

// wrote is how many bytes a process had written to disk.
func wrote(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			n, _ := strconv.ParseFloat(strings.TrimSpace(v), 64)
			return n
		}
	}
	return 0
}
