package process

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// layer is a mount that a process finds in place of what the machine has there.
type layer struct {
	path   string
	kind   layerKind
	source string   // folder or file that is there; "" = path itself
	data   string   // options of an empty one
	folder bool     // what is there is no file
	above  []string // folders to be made for it, each after those above it
	onDisk bool     // what is made for it is in the process's own folder
}

// layerKind is also the order of layers at one path.
type layerKind int

const (
	isTemporary layerKind = iota // the process's own folder
	isMemory                     // an own file system in memory
	isCovered                    // an empty folder that nobody writes
	isReached                    // what the machine has there, in one of those
	isNamed                      // likewise, if its user may come to it
)

const (
	coverFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC // what is reached keeps its own
	coverData  = "size=64k,nr_inodes=1k,mode=711"
	coverFS    = "tmpfs"
	shmFlags   = unix.MS_NOSUID | unix.MS_NODEV

	// A file that is reached, such as a program, is others' too.
	reachedFlags = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NODEV
)

// The folders for what is of passing use, as all programs know them.
const (
	TemporaryFolder = "/tmp"
	SharedMemory    = "/dev/shm"
)

// MayReplace reports whether a process can have a folder of its own in place of that
// one: it is there, and no link, which leads to what has other names as well.
func MayReplace(path string) bool {
	fi, err := os.Lstat(path)
	return err == nil && fi.IsDir()
}

// holdTree is how what is there is held, with what is mounted on it.
const holdTree = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE

// onlyThere opens what has that path, not what a link leads to.
var onlyThere = unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}

// layers are the mounts by which a process finds other files than the machine's,
// those above first.
func (c Confinement) layers() ([]layer, error) {
	if !c.PrivateMounts {
		return nil, nil
	}
	var all, out []layer
	add := func(kind layerKind, paths ...string) {
		for _, p := range paths {
			l := layer{path: filepath.Clean(p), kind: kind, folder: kind != isNamed || strings.HasSuffix(p, "/")}
			if kind == isCovered {
				l.data = coverData
			}
			all = append(all, l)
		}
	}
	add(isCovered, c.Covered...)
	add(isReached, c.Reached...)
	add(isNamed, c.Named...)
	if c.Temporary != "" {
		all = append(all, layer{path: TemporaryFolder, kind: isTemporary, source: filepath.Clean(c.Temporary), folder: true})
	}
	if c.PrivateMemory {
		all = append(all, layer{path: SharedMemory, kind: isMemory, data: c.memoryOptions(), folder: true})
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := &all[i], &all[j]
		return cmp.Or(strings.Compare(a.path, b.path), cmp.Compare(a.kind, b.kind)) < 0
	})
	made := map[string]bool{}
	for _, l := range all {
		add, err := l.on(out, made)
		if err != nil {
			return nil, fmt.Errorf("look at what a task is to reach: %w", err)
		}
		if add {
			out = append(out, l)
		}
	}
	return out, nil
}

// on reports whether there is to be a layer on those that there are.
func (l *layer) on(those []layer, made map[string]bool) (bool, error) {
	var top *layer // the nearest
	for i := range those {
		if t := &those[i]; t.path == l.path || below(l.path, t.path) {
			top = t
		}
	}
	replaced := top != nil && top.kind < isReached // nothing of the machine's is there
	switch l.kind {
	case isTemporary, isMemory:
		return MayReplace(l.path), nil
	case isCovered:
		if !replaced {
			return true, nil
		}
		if top.kind == isCovered || top.path == l.path {
			return false, nil
		}
	default:
		if !replaced || top.path == l.path {
			return false, nil
		}
	}
	if l.kind == isReached { // of what a user named, who knows whether it ever answers
		fi, err := os.Stat(l.path)
		if err != nil {
			return false, err
		}
		l.folder = fi.IsDir()
	}
	l.onDisk = top.kind == isTemporary
	above := l.path
	if !l.folder {
		above = filepath.Dir(l.path)
	}
	for _, dir := range between(top.path, above) {
		if !made[dir] {
			made[dir] = true
			l.above = append(l.above, dir)
		}
	}
	return true, nil
}

// between lists the folders below one, down to another.
func between(top, dir string) (out []string) {
	for ; below(dir, top); dir = filepath.Dir(dir) {
		out = append(out, dir)
	}
	slices.Reverse(out)
	return out
}

// memoryOptions bound what is in memory by what all of the task may have: it
// counts as that.
func (c Confinement) memoryOptions() string {
	const mode = "mode=1777"
	if c.Limits.Memory <= 0 {
		return mode
	}
	return mode + ",size=" + strconv.FormatInt(c.Limits.Memory, 10)
}

// does names what failed.
func (l layer) does() string {
	switch l.kind {
	case isCovered:
		return "cover " + l.path
	case isTemporary, isMemory:
		return "make a " + l.path + " of its own"
	}
	return "let it reach " + l.path
}

// puts names what failed once what is to be there is held: nobody's doing but ours.
func (l layer) puts() string {
	if l.kind < isReached {
		return l.does()
	}
	return "put into its mounts " + l.path
}

// makes is an error of making what it is put on.
func (l layer) makes(path string, err error) error {
	if l.onDisk {
		return &os.PathError{Op: MakeOp, Path: path, Err: err}
	}
	return fmt.Errorf("%s: %w", l.puts(), err)
}

// empty reports whether a file system of its own is mounted there.
func (l layer) empty() bool { return l.kind == isCovered || l.kind == isMemory }

func (l layer) flags() uintptr {
	if l.kind == isMemory {
		return shmFlags
	}
	return coverFlags
}

// from is where what is there is on the machine.
func (l layer) from() string { return cmp.Or(l.source, l.path) }

// text is what a script of it has of strings.
func (l layer) text() []string {
	return append([]string{l.path, l.path, l.source, l.data, coverFS, strings.Repeat(" ", 160)}, l.above...)
}

// steps is how many system calls it takes at most.
func (l layer) steps() int { return 9 + 2*len(l.above) }
