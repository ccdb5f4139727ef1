package legacy

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// machine is the one on which this runs, as the kernel tells of it.
type machine struct{ proc string }

// load is how many processes ran or wanted to, on average of 1, 5 and 15 minutes.
func (m machine) load() (out [3]float64, ok bool) {
	b, err := os.ReadFile(filepath.Join(m.proc, "loadavg"))
	words := strings.Fields(string(b))
	if err != nil || len(words) < len(out) {
		return out, false
	}
	for i := range out {
		if out[i], err = strconv.ParseFloat(words[i], 64); err != nil {
			return out, false
		}
	}
	return out, true
}

// memory is what there is and what nobody has, in bytes.
func (m machine) memory() (total, free float64, ok bool) {
	b, err := os.ReadFile(filepath.Join(m.proc, "meminfo"))
	if err != nil {
		return 0, 0, false
	}
	found := 0
	for line := range strings.Lines(string(b)) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		kib, err := strconv.ParseFloat(words[1], 64)
		switch {
		case err != nil:
		case words[0] == "MemTotal:":
			total, found = kib*1024, found+1
		case words[0] == "MemFree:":
			free, found = kib*1024, found+1
		}
	}
	return total, free, found == 2
}
