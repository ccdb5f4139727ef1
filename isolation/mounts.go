package isolation

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"

	"github.com/mesita/mesita/isolation/process"
)

// mounts are the cgroup hierarchies of this machine.
type mounts struct {
	unified string
	v1      map[string]string // controller → mount point
}

// readMounts reads the mount table of a process: where the hierarchies are is a custom of
// the distribution and cannot be assumed.
func readMounts(proc string) (mounts, error) {
	m := mounts{v1: map[string]string{}}
	f, err := os.Open(filepath.Join(proc, "mountinfo"))
	if err != nil {
		return m, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		before, after, ok := strings.Cut(s.Text(), " - ")
		pre, post := strings.Fields(before), strings.Fields(after)
		if !ok || len(pre) < 6 || len(post) < 3 {
			continue
		}
		point := process.Unescape(pre[4])
		switch post[0] {
		case "cgroup2":
			// Of several mounts the first is the machine's own; the rest are binds.
			if m.unified == "" {
				m.unified = point
			}
		case "cgroup":
			if strings.Contains(","+pre[5]+",", ",ro,") {
				continue
			}
			for opt := range strings.SplitSeq(post[2], ",") {
				if _, known := m.v1[opt]; !known {
					m.v1[opt] = point
				}
			}
		}
	}
	return m, s.Err()
}
