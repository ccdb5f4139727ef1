package process

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// cover is a folder in whose place a process finds an empty one that it cannot
// write, but for what is to be reached.
type cover struct {
	path    string
	folders []string // to be made in it, each after those above it
	reached []reach
}

// reach is a file or folder that is where it was.
type reach struct {
	path   string
	folder bool
}

const (
	coverFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC // what is reached keeps its own
	coverData  = "size=64k,nr_inodes=1k,mode=711"
	coverFS    = "tmpfs"

	// A file that is reached, such as a program, is others' too.
	reachedFlags = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NODEV
)

// covers looks at what a process is to reach.
func (c Confinement) covers() ([]cover, error) {
	if !c.PrivateMounts {
		return nil, nil
	}
	var out []cover
	for _, path := range c.Covered {
		v := cover{path: filepath.Clean(path)}
		for _, p := range c.Reached {
			p = filepath.Clean(p)
			if !below(p, v.path) {
				continue
			}
			fi, err := os.Stat(p)
			if err != nil {
				return nil, fmt.Errorf("look at what a task is to reach: %w", err)
			}
			v.reached = append(v.reached, reach{p, fi.IsDir()})
			above := p
			if !fi.IsDir() {
				above = filepath.Dir(p)
			}
			v.folders = append(v.folders, between(v.path, above)...)
		}
		slices.Sort(v.folders) // those above come first
		v.folders = slices.Compact(v.folders)
		out = append(out, v)
	}
	return out, nil
}

// between lists the folders below one, down to another.
func between(top, dir string) (out []string) {
	for ; below(dir, top); dir = filepath.Dir(dir) {
		out = append(out, dir)
	}
	return out
}

// does names what failed.
func (v cover) does() string { return "cover " + v.path }

// text is what a script of it has of strings.
func (v cover) text() []string {
	out := append([]string{v.path, coverData, coverFS, strings.Repeat(" ", 64)}, v.folders...)
	for _, r := range v.reached {
		out = append(out, r.path)
	}
	return out
}

// steps is how many system calls it takes.
func (v cover) steps() int { return 4 + len(v.folders) + 4*len(v.reached) }
