package executor

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/cores"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/logs"
	"github.com/mesita/mesita/executor/prepare"
)

// LogOptions chooses what Logs returns: see logs.Options.
type LogOptions = logs.Options

// LogReader returns a task's log piece by piece: see logs.Reader.
type LogReader = logs.Reader

// Logs opens the log of an attempt of a task on this node: 0 is the newest,
// below 0 as many before it. With Follow the log of an attempt that has not
// started yet is waited for. The caller closes the reader.
func (e *Executor) Logs(ctx context.Context, task string, attempt int, opts LogOptions) (*LogReader, error) {
	if !filepath.IsLocal(task) || strings.Contains(task, "/") {
		return nil, api.FieldErrorf("task", "%q is not a task id", task)
	}
	ns, err := e.logged(task)
	if err != nil {
		return nil, err
	}
	n, known := attempt, false
	if err := e.ask(ctx, func() {
		a := e.loop.tasks[task]
		newest := e.loop.graves.newest[task]
		if a != nil {
			newest = a.n
		}
		if n <= 0 && newest > 0 {
			n += newest
		} else if i := len(ns) - 1 + n; n <= 0 && i >= 0 {
			n = ns[i]
		}
		known = n > 0 && n <= newest
		if a != nil && a.n == n && !a.state.ended() {
			a.followed = a.followed || opts.Follow
		} else {
			opts.Follow = false // all of it is there
		}
	}); err != nil {
		return nil, err
	}
	if n <= 0 || !known && !slices.Contains(ns, n) {
		return nil, noLog(task, attempt)
	}
	return logs.Open(e.logDir(attemptID(task, n)), opts)
}

func noLog(task string, attempt int) error {
	if attempt < 0 {
		return api.Errorf(api.CodeNotFound, "task %s has no earlier attempt with a log on this node", task)
	}
	return api.Errorf(api.CodeNotFound, "task %s has no log on this node: it wrote nothing, did not run here, or its log was removed for its age", task)
}

// Written is how many bytes an attempt has written to its standard output and error, and
// when last.
func (e *Executor) Written(task string, attempt int) (bytes [2]int64, at time.Time, err error) {
	if !filepath.IsLocal(task) || strings.Contains(task, "/") {
		return bytes, at, api.FieldErrorf("task", "%q is not a task id", task)
	}
	p, at, err := logs.End(e.logDir(attemptID(task, attempt)))
	if errors.Is(err, os.ErrNotExist) {
		err = noLog(task, attempt)
	}
	return p, at, err
}

// Folder is the working folder of an attempt that is its own, "" if it works in another.
func (e *Executor) Folder(task string, attempt int, s *api.TaskSpec) string {
	if id := attemptID(task, attempt); s.Dir == "" && filepath.IsLocal(id) {
		return e.prepare.Folders.Dir(id)
	}
	return ""
}

// logged lists the attempts with a log.
func (e *Executor) logged(task string) ([]int, error) {
	names, err := os.ReadDir(filepath.Join(e.cfg.DataDir, "logs", task))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var out []int
	for _, f := range names {
		if n, err := strconv.Atoi(f.Name()); err == nil && n > 0 {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// User is who an attempt runs as here; false if that is not known, or not yet.
func (e *Executor) User(t *api.Task, s *api.TaskSpec) (uid uint32, known bool) {
	return e.prepare.User(attemptID(t.ID, t.Attempt), s)
}

// ExecRequest is a command to run beside a running task, in its namespaces and
// slice and with its environment.
type ExecRequest struct {
	Task    string
	Attempt int // 0: the one that runs
	Command []string
	Env     map[string]string // on top of the task's
	Dir     string            // "" = the task's
	TTY     bool

	Size keeper.Size // of the terminal at first

	// Begin sets what follows, once the command has begun or takes long to, so
	// that most of what is wrong with it is told before; nil: it is set.
	Begin func(*ExecRequest) error

	Stdin          io.Reader // nil: nothing to read
	Stdout, Stderr io.Writer
	Resize         <-chan keeper.Size
	Signals        <-chan syscall.Signal // for the command
}

// Exec runs the command until it ends. When ctx ends it is hung up, and killed
// if it stays. It returns
// the exit code, 128 and the signal's number for a signal.
func (e *Executor) Exec(ctx context.Context, r ExecRequest) (code int, err error) {
	res, err := e.Beside(ctx, r)
	if res.Signal != 0 {
		return 128 + int(res.Signal), err
	}
	return res.Code, err
}

// Beside is Exec, and tells the signal that ended the command apart.
func (e *Executor) Beside(ctx context.Context, r ExecRequest) (res keeper.ExecResult, err error) {
	if len(r.Command) == 0 || r.Command[0] == "" {
		return res, api.FieldErrorf("command", "is empty: give the program and its arguments")
	}
	var task *api.Task
	var spec *api.TaskSpec
	var id string
	frozen := false
	if err := e.ask(ctx, func() {
		if a := e.loop.tasks[r.Task]; a != nil && a.state.hasProcess() && (r.Attempt == 0 || r.Attempt == a.n) {
			task, spec, id, frozen = a.task, a.spec, a.id, a.freezer.on
		}
	}); err != nil {
		return res, err
	}
	if task == nil && r.Attempt != 0 {
		return res, api.Errorf(api.CodeConflict, "attempt %d of task %s does not run on this node any more: if the task started again, try again", r.Attempt, r.Task)
	}
	if task == nil {
		return res, api.Errorf(api.CodeConflict, "task %s does not run on this node now", r.Task)
	}
	if frozen {
		return res, errFrozen(r.Task)
	}
	proc, err := e.prepare.Beside(id, task, spec, prepare.Command{Args: r.Command, Env: r.Env, Dir: r.Dir, TTY: r.TTY})
	if err != nil {
		return res, notRun(err)
	}
	begin := func(k *keeper.ExecRequest) error {
		if r.Begin != nil {
			if err := r.Begin(&r); err != nil {
				return err
			}
		}
		k.Stdin, k.Stdout, k.Stderr, k.Resize, k.Signals = r.Stdin, r.Stdout, r.Stderr, r.Resize, r.Signals
		return nil
	}
	res, err = e.rt.Exec(ctx, keeper.ExecRequest{ID: id, Spec: proc, Size: r.Size, Begin: begin})
	switch {
	case err == nil:
	case gone(err):
		return res, api.Errorf(api.CodeConflict, "task %s ended", r.Task)
	case errors.Is(err, keeper.ErrFrozen):
		return res, errFrozen(r.Task)
	case ofProgram(err):
		return res, notRun(e.prepare.NotRun(&proc, err))
	default:
		return res, err
	}
	return res, nil
}

// Terminal opens the terminal of a running attempt, by which it is typed to.
func (e *Executor) Terminal(ctx context.Context, task string, attempt int) (*keeper.Terminal, error) {
	t, err := e.rt.Terminal(ctx, attemptID(task, attempt))
	switch {
	case err == nil:
		return t, nil
	case gone(err):
		return nil, api.Errorf(api.CodeConflict, "attempt %d of task %s does not run on this node any more", attempt, task)
	case errors.Is(err, keeper.ErrNoTerminal):
		return nil, api.Errorf(api.CodeConflict, "task %s has no terminal, and reads nothing: it was started without 'tty_info'", task)
	}
	return nil, err
}

// Stats tells what each running task uses now, in the order of their ids. What
// ended meanwhile is left out.
func (e *Executor) Stats(ctx context.Context, detail api.StatsDetail) []api.TaskStats {
	var out []api.TaskStats
	var ids []string
	if e.ask(ctx, func() {
		for _, a := range e.loop.tasks {
			if a.state.hasProcess() {
				out = append(out, api.TaskStats{Task: a.task.ID, Attempt: a.n, CPULimit: api.MilliCPU(a.spec.CPULimit), Bounds: e.boundsOf(a), OwnCPUs: cores.List(a.rec.Cores), Began: a.rec.Up})
			}
		}
	}) != nil {
		return nil
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Task < out[j].Task })
	for _, s := range out {
		ids = append(ids, attemptID(s.Task, s.Attempt))
	}
	if detail != api.StatsCPU {
		e.holdUps(out)
	}
	const lanes = 4
	part := (len(ids) + lanes - 1) / lanes
	used := make([]*api.TaskStats, len(ids))
	var work sync.WaitGroup
	for from := 0; from < len(ids); from += part {
		to := min(from+part, len(ids))
		work.Go(func() { copy(used[from:to], e.rt.AllStats(ctx, ids[from:to], detail)) })
	}
	work.Wait()
	running := out[:0]
	for i, is := range out {
		if st := used[i]; st != nil {
			st.Task, st.Attempt, st.CPULimit, st.Bounds, st.OwnCPUs, st.Began = is.Task, is.Attempt, is.CPULimit, is.Bounds, is.OwnCPUs, is.Began
			running = append(running, *st)
		}
	}
	return running
}

// PutBlob stores a program whose content has that digest, and as many bytes as it is said to
// have, -1 if nobody knows.
func (e *Executor) PutBlob(digest string, size int64, r io.Reader) error {
	return e.blobs.Put(digest, size, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// OpenBlob opens a program for another node and tells its size in bytes.
func (e *Executor) OpenBlob(digest string) (io.ReadCloser, int64, error) {
	return e.blobs.OpenBlob(digest)
}

// HasBlob reports whether the program is on this node, as a whole.
func (e *Executor) HasBlob(digest string) bool { return e.blobs.Check(digest) == nil }
