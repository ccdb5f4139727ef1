//go:build unix && !linux

package cli

import (
	"path/filepath"
	"strconv"
	"strings"
)

// descriptor is the open file of this process that a path is another name of, or -1: such
// names are not links here, so it goes by the name alone.
func descriptor(to string) int {
	switch to = filepath.Clean(to); to {
	case "/dev/stdin":
		return 0
	case "/dev/stdout":
		return 1
	case "/dev/stderr":
		return 2
	}
	if n, ok := strings.CutPrefix(to, "/dev/fd/"); ok {
		if fd, err := strconv.Atoi(n); err == nil {
			return fd
		}
	}
	return -1
}
