package cli

import (
	"os"
	"path/filepath"
	"strconv"
)

// descriptor is the open file of this process that a path is another name of, as /dev/stdout
// is of 1, or -1. Others write to it before and after: it is neither replaced nor cut.
func descriptor(to string) int {
	open, err := filepath.EvalSymlinks("/proc/self/fd")
	for left := 40; err == nil && left > 0; left-- { // as many links as the kernel follows
		var dir, link string
		if dir, err = filepath.EvalSymlinks(filepath.Dir(to)); err != nil {
			break
		}
		if dir == open {
			if n, err := strconv.Atoi(filepath.Base(to)); err == nil {
				return n
			}
			break
		}
		if link, err = os.Readlink(to); err == nil && !filepath.IsAbs(link) {
			link = filepath.Join(dir, link)
		}
		to = link
	}
	return -1
}
