package cores

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mesita/mesita/isolation"
)

// Look finds out what CPUs are part of, in a sysfs; "" is the machine's. Where
// it does not say each is a core, and all are of one node.
func Look(sys string, ids []int) []CPU {
	if sys == "" {
		sys = "/sys"
	}
	nodes := map[int]int{}
	lists, _ := filepath.Glob(filepath.Join(sys, "devices/system/node/node*/cpulist"))
	for _, file := range lists {
		node, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(filepath.Dir(file)), "node"))
		if err != nil {
			continue
		}
		for _, id := range read(file) {
			nodes[id] = node
		}
	}
	var cpus []CPU
	for _, id := range slices.Sorted(slices.Values(ids)) {
		c := CPU{ID: id, Core: id, Node: nodes[id]}
		if threads := read(filepath.Join(sys, "devices/system/cpu", "cpu"+strconv.Itoa(id), "topology/thread_siblings_list")); len(threads) > 0 {
			c.Core = threads[0]
		}
		cpus = append(cpus, c)
	}
	return cpus
}

func read(file string) []int {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	ids, err := isolation.ParseCPUs(string(b))
	if err != nil {
		return nil
	}
	return ids
}
