package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/fetch"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/logs"
	"github.com/mesita/mesita/executor/prepare"
)

// What a task has fetched is brought by a process with the task's rights, which the keeper
// starts before the task: for it, it is an attempt by a name of its own. What a daemon
// that ended had begun so is nobody's, and ends as soon as the next one hears of it.

const (
	bringMark = ".fetch-" // in no id of a task
	maxTold   = 1000      // bytes of what went wrong
	bringLogs = 64 << 10
)

// bringing is one such process. The loop owns it.
type bringing struct {
	a     *attempt
	id    string // with the keeper; "" = it waits for its turn
	slice string
	since uint64 // loop.seq when it came to run

	holds  []string // keys of the cache for which it fetches, and others wait
	direct bool     // it waits for nobody, as who fetched the same failed
	dir    string   // of the task
	uid    uint32   // of the task
}

func isBringing(id string) bool { return strings.Contains(id, bringMark) }

// How many such processes there are at a time, as nobody is charged for what they use: of
// all frameworks, and of one.
const (
	maxBringing   = 8
	maxBringingOf = 4
)

// bring has the files of an attempt be fetched into its folder when it is its turn, then
// supplied or why not.
func (e *Executor) bring(a *attempt) {
	a.bringing = &bringing{a: a, since: math.MaxUint64}
	e.loop.toBring = append(e.loop.toBring, a.bringing)
	e.bringNext()
}

// bringNext begins with those whose turn it is.
func (e *Executor) bringNext() {
	of := map[string]int{}
	for _, b := range e.loop.bringing {
		of[b.framework()]++
	}
	e.loop.toBring = slices.DeleteFunc(e.loop.toBring, func(b *bringing) bool {
		switch {
		case b.a.bringing != b: // it was stopped meanwhile
			return true
		case len(e.loop.bringing) >= maxBringing || of[b.framework()] >= maxBringingOf || !e.hold(b):
			return false
		}
		of[b.framework()]++
		e.beginBringing(b)
		return true
	})
}

func (b *bringing) framework() string {
	if f := b.a.task.Framework; f != nil {
		return f.Framework
	}
	return ""
}

func (e *Executor) beginBringing(b *bringing) {
	a := b.a
	// No other daemon gave this id.
	unique := bringMark + strconv.FormatInt(int64(e.cfg.Uptime()), 36)
	b.id, b.slice = attemptID(a.task.ID+unique, a.n), prepare.Slice(a.task)+unique
	e.loop.bringing[b.id] = b
	id, task, spec := a.id, a.task, a.spec
	e.loop.starts.add(func(ctx context.Context) {
		req, err := e.bringRequest(id, unique, task, spec)
		b.dir, b.uid = req.Spec.Dir, req.Spec.UID
		req.ID, req.Slice, req.LogDir, req.LogMax = b.id, b.slice, e.bringLog(b.id), bringLogs
		why := prepareReason(err)
		if err == nil {
			_, err = e.rt.Start(ctx, req)
			why = startReason(err)
		}
		if err != nil && ctx.Err() != nil {
			return // the next daemon begins anew
		}
		e.post(func() { e.bringBegan(b, err, why) })
	})
}

func (e *Executor) bringRequest(id, unique string, t *api.Task, s *api.TaskSpec) (keeper.StartRequest, error) {
	var none keeper.StartRequest
	if len(e.cfg.Fetcher) == 0 {
		return none, errors.New("nothing is fetched on this node")
	}
	program, err := e.ownProgram()
	if err != nil {
		return none, fmt.Errorf("fetch the task's files: %w", err)
	}
	proc, err := e.prepare.Fetch(id, t, s, program, e.cfg.Fetcher)
	if err != nil {
		return none, err
	}
	order := fetch.Order{Files: s.Fetch, Name: unique, Kept: e.putKept(unique, t, s, &proc)}
	order.Max, order.Reserve = e.disk.spare()
	b, err := json.Marshal(order)
	proc.Env = append(proc.Env, fetch.Variable+"="+string(b))
	return keeper.StartRequest{Spec: proc}, err
}

func (e *Executor) bringLog(id string) string {
	return filepath.Join(e.cfg.DataDir, "fetch", strings.ReplaceAll(id, "/", "."))
}

// bringBegan takes in whether the process started.
func (e *Executor) bringBegan(b *bringing, err error, why api.Reason) {
	switch {
	case err != nil:
		e.release(b, b.a.bringing == b)
		e.endBringing(b.id)
		e.broughtNothing(b, verdict{api.TaskFailed, why, "fetch its files: " + err.Error()})
	case b.a.bringing != b: // it was stopped meanwhile
		e.killProcess(b.id)
		fallthrough
	default:
		e.loop.seq++
		b.since = e.loop.seq
	}
}

// endBringing takes note that one has ended.
func (e *Executor) endBringing(id string) {
	delete(e.loop.bringing, id)
	e.bringNext()
}

func (e *Executor) broughtNothing(b *bringing, why verdict) {
	if b.a.bringing == b {
		b.a.bringing = nil
		e.happen(b.a, unsupplied, news{why: why})
	}
}

// stopBringing ends what is being fetched for an attempt that ended.
func (e *Executor) stopBringing(a *attempt) {
	if b := a.bringing; b != nil {
		a.bringing = nil
		if b.id != "" {
			e.killProcess(b.id) // if it is not there yet, once it is
		}
	}
}

// takeBringing takes in what the keeper says of a process that fetches, or did.
func (e *Executor) takeBringing(st keeper.Status) {
	b := e.loop.bringing[st.ID]
	switch {
	case b == nil && runs(st): // of an earlier daemon
		e.killProcess(st.ID)
	case b == nil:
		e.dropBringing(st.ID)
	case !runs(st):
		e.brought(b, st)
		e.endBringing(st.ID)
	}
}

// missBringing ends those that the keeper does not have, of which it came to run after seq
// none is expected there.
func (e *Executor) missBringing(seen map[string]bool, seq uint64) {
	for id, b := range e.loop.bringing {
		if !seen[id] && b.since <= seq {
			e.brought(b, keeper.Status{ID: id, State: keeper.Lost})
			e.endBringing(id)
		}
	}
}

func (e *Executor) dropBringing(id string) {
	e.forget(id)
	e.loop.ops.add(func(context.Context) { _ = os.RemoveAll(e.bringLog(id)) }) // else the next daemon removes it
}

// brought takes in how the process ended.
func (e *Executor) brought(b *bringing, st keeper.Status) {
	if b.a.bringing != b {
		e.release(b, false)
		e.dropBringing(b.id)
		return
	}
	if st.State == keeper.Ended && st.Code == 0 && st.Signal == 0 {
		e.keepBrought(b)
		return
	}
	e.release(b, true)
	e.loop.ops.add(func(context.Context) {
		said, err := lastSaid(e.bringLog(b.id), logs.Stderr, maxTold)
		why := verdict{api.TaskFailed, api.ReasonFetchFailed, said}
		switch {
		case st.State == keeper.Lost:
			why = verdict{api.TaskFailed, api.ReasonKeeperLost, "the keeper process of node " + e.cfg.Name + " was killed, and what fetched its files ended with it"}
		case st.OOMKills > 0:
			why.message = "fetch its files: what fetches and unpacks them needed more memory than it may have here"
		case st.Signal != 0:
			why.message = "fetch its files: what fetches them was ended by " + signalName(st.Signal) + " from outside mesita"
		case said == "":
			why.message = fmt.Sprintf("fetch its files: what fetches them exited with code %d, and nobody knows why (%v)", st.Code, err)
		}
		e.post(func() {
			e.broughtNothing(b, why)
			e.dropBringing(b.id)
		})
	})
}

// lastSaid is what a process wrote, of what went wrong or of what came.
func lastSaid(dir string, to logs.Stream, most int) (string, error) {
	r, err := logs.Open(dir, logs.Options{})
	if err != nil {
		return "", err
	}
	defer r.Close()
	var said []byte
	for {
		entry, err := r.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return strings.TrimSpace(strings.ToValidUTF8(string(said), "�")), nil
		}
		if err != nil {
			return "", err
		}
		if entry.Stream == to {
			if said = append(said, entry.Data...); len(said) > most {
				said = said[:most]
			}
		}
	}
}

// ownProgram is this program, where tasks of each user can come to it: the one that runs
// may be in a folder that is another's.
func (e *Executor) ownProgram() (string, error) {
	e.copying.Lock()
	defer e.copying.Unlock()
	path := filepath.Join(e.cfg.DataDir, "fetch", "mesita")
	const own = "/proc/self/exe" // whatever is at its path by now
	is, err := os.Stat(own)
	if err != nil {
		return "", err
	}
	if e.copied { // by this daemon: another version may look the same
		if fi, err := os.Stat(path); err == nil && fi.Size() == is.Size() && fi.ModTime().Equal(is.ModTime()) {
			return path, nil
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	if err := copyProgram(own, path, is); err != nil {
		return "", err
	}
	e.copied = true
	return path, nil
}

func copyProgram(from, to string, like fs.FileInfo) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	temp := to + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	err = errors.Join(err, out.Chmod(0o755), out.Close(), os.Chtimes(temp, like.ModTime(), like.ModTime()))
	if err != nil {
		_ = os.Remove(temp) // there is a worse error
		return err
	}
	return os.Rename(temp, to)
}
