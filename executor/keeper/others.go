package keeper

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/isolation"
)

// other is a keeper of another folder that runs tasks in the same slice.
type other struct {
	pid   int
	named string // its folder, as its own mounts have it
	dir   string // the same as we can open it; "" if we cannot
	// Its folder was moved or deleted where we would see it, so no daemon can
	// come back to it.
	left   bool
	beside bool // it sees the files and processes that we see
}

// EndOthers ends what is left in the node's slice of an earlier life of this
// node in another folder: "move the folder away and join again" leaves the old
// keeper and its tasks, which nobody would see or stop. One whose daemon runs,
// as inUse tells of its folder, is another node, and one that sees other files,
// as in a container, may be: then nothing is touched, and the error says so.
// argv is how this node's own keeper is started.
func EndOthers(ctx context.Context, cfg ClientConfig, host *isolation.Host, inUse func(dir string) bool) error {
	slice := flagOf(cfg.Argv, "--slice")
	others := findOthers(slice, cfg.Dir, host)
	for _, o := range others {
		switch {
		case o.dir != "" && inUse(o.dir):
			return fmt.Errorf("the slice %s is used by another node of this machine, with the data folder %s and the keeper process %d: "+
				"stop that node, or start this one with another --slice", slice, filepath.Dir(o.named), o.pid)
		case !o.beside, o.dir == "" && !o.left:
			return fmt.Errorf("the slice %s is used by the keeper process %d, whose data folder %s is not seen from here, as in a container: "+
				"end that process, or start this node with another --slice", slice, o.pid, filepath.Dir(o.named))
		}
	}
	for _, o := range others {
		if err := o.end(ctx, cfg.Log); err != nil {
			return fmt.Errorf("end the tasks that an earlier life of this node left in the slice %s (data folder %s, keeper process %d): %w", slice, filepath.Dir(o.named), o.pid, err)
		}
	}
	for _, dir := range folders(cfg.Dir) {
		if answers(dir) || unclean(dir) {
			return nil // it knows what is in the slice, or the next one ends what the last one left, and tells of it
		}
	}
	names, err := host.List()
	if err != nil {
		cfg.Log.Error("the slices left by an earlier keeper cannot be listed", "error", err)
	}
	killSlices(ctx, host, cfg.Log, names)
	return nil
}

// end ends the tasks of a keeper, and then it.
func (o other) end(ctx context.Context, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, spawnTime)
	defer cancel()
	err := errors.New("its folder was deleted")
	if o.dir != "" {
		err = o.quit(ctx, log)
	}
	for err == nil && o.lives() {
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	if err == nil {
		return nil
	}
	if !o.left { // its daemon may come back
		return fmt.Errorf("its keeper does not end: move that folder away, or end the process: %w", err)
	}
	// What it ran is killed with the slice.
	log.Warn("the keeper of an earlier life of this node does not end, and is killed", "folder", o.named, "pid", o.pid, "error", err)
	if err := syscall.Kill(o.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// quit tells a keeper to kill its tasks and end.
func (o other) quit(ctx context.Context, log *slog.Logger) error {
	none := func() {}
	p := &peer{cfg: ClientConfig{Dir: o.dir, Argv: []string{"/bin/false"}, Log: log}, tell: func(...Status) {}, linked: none, left: none} // it is there, so none is started
	defer p.close()
	all, err := p.do(ctx, false, message{Op: opList})
	if err != nil {
		return err
	}
	var running []string
	for _, st := range all.Statuses {
		if st.State == Starting || st.State == Running {
			running = append(running, st.ID)
			_, _ = p.do(ctx, false, message{Op: opKill, ID: st.ID}) // it may have ended
		}
	}
	log.Warn("tasks of an earlier life of this node are ended: its folder was moved away", "folder", o.named, "tasks", running)
	return p.quit(ctx)
}

func (o other) lives() bool { return syscall.Kill(o.pid, 0) == nil }

// killSlices kills all that is in these slices.
func killSlices(ctx context.Context, host *isolation.Host, log *slog.Logger, names []string) {
	for _, name := range names {
		sl, err := host.Open(name)
		if err == nil {
			err = errors.Join(sl.Kill(), sl.Delete(ctx))
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			log.Error("a slice left by an earlier keeper cannot be removed", "slice", name, "error", err)
		}
	}
}

func flagOf(argv []string, name string) string {
	if i := slices.Index(argv, name); i >= 0 && i+1 < len(argv) {
		return argv[i+1]
	}
	return ""
}

// findOthers looks for keepers that have the slice's very group among the
// processes of our user, by their command line and the lock that they hold open:
// a task of another user may have any. dir is one of our own.
func findOthers(slice, dir string, host *isolation.Host) (out []other) {
	var ours []os.FileInfo
	for _, d := range folders(dir) {
		if fi, err := os.Stat(filepath.Join(d, lockFile)); err == nil { // else none is there
			ours = append(ours, fi)
		}
	}
	for pid, argv := range keepers() {
		proc := filepath.Join("/proc", strconv.Itoa(pid))
		if flagOf(argv, "--slice") != slice || pid == os.Getpid() || !sameUser(proc) || !host.Shares(pid, flagOf(argv, "--cgroup-root")) {
			continue
		}
		lock, at, deleted := openLock(proc)
		if lock == nil || slices.ContainsFunc(ours, func(own os.FileInfo) bool { return os.SameFile(lock, own) }) {
			continue
		}
		o := other{pid: pid, named: at, dir: reach(pid, at, lock), beside: host.Beside(pid)}
		moved := o.dir != "" && reach(pid, flagOf(argv, "--dir"), lock) == ""
		o.left = o.beside && (deleted || moved)
		out = append(out, o)
	}
	return out
}

// keepers are the processes that were started as keepers, by what they say of
// themselves. Each start of a node looks at all processes of the machine, so no more
// of each is read than tells that it is none, and no folder but one.
func keepers() iter.Seq2[int, []string] {
	return func(yield func(int, []string) bool) {
		all, err := os.Open("/proc")
		if err != nil {
			return
		}
		defer all.Close()               // it was only read
		names, _ := all.Readdirnames(0) // those that it gave
		begin := make([]byte, unix.PathMax)
		for _, name := range names {
			pid, err := strconv.Atoi(name)
			file := "/proc/" + name + "/cmdline"
			if err != nil || !saysKeeper(file, begin) {
				continue
			}
			b, err := os.ReadFile(file)
			if argv := argvOf(b); err == nil && len(argv) > 1 && argv[1] == "keeper" && !yield(pid, argv) {
				return
			}
		}
	}
}

// saysKeeper reports whether a command line may be a keeper's, by its beginning.
func saysKeeper(file string, begin []byte) bool {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd) // it was only read
	n, err := unix.Read(fd, begin)
	if err != nil {
		return false
	}
	argv := argvOf(begin[:n])
	return len(argv) > 1 && argv[1] == "keeper" || n == len(begin)
}

func argvOf(cmdline []byte) []string {
	return strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
}

// sameUser reports whether a process is of our user. Who owns its folder in /proc
// does not tell: that is root for one that may not be dumped.
func sameUser(proc string) bool {
	b, err := os.ReadFile(filepath.Join(proc, "status"))
	_, ids, ok := strings.Cut(string(b), "\nUid:\t")
	real, _, _ := strings.Cut(ids, "\t")
	return err == nil && ok && real == strconv.Itoa(os.Getuid())
}

// reach is a path by which we can open a process's folder, known by the lock in
// it, "" if there is none. A path of its own may be another folder here.
func reach(pid int, dir string, lock os.FileInfo) string {
	for _, d := range []string{dir, filepath.Join("/proc", strconv.Itoa(pid), "root", dir)} {
		if fi, err := os.Stat(filepath.Join(d, lockFile)); err == nil && os.SameFile(fi, lock) {
			return d
		}
	}
	return ""
}

// openLock finds the lock that a keeper holds open, the folder that it is in by
// now, as the keeper's mounts have it, and whether it was deleted there: a copy
// of the folder that was made with hard links may keep the file alive.
func openLock(proc string) (lock os.FileInfo, dir string, deleted bool) {
	fds, _ := filepath.Glob(proc + "/fd/*")
	for _, fd := range fds {
		to, err := os.Readlink(fd)
		to, deleted := strings.CutSuffix(to, " (deleted)")
		if err != nil || filepath.Base(to) != lockFile {
			continue
		}
		if fi, err := os.Stat(fd); err == nil {
			return fi, filepath.Dir(to), deleted
		}
	}
	return nil, "", false
}
