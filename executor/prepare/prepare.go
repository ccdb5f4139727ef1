// Package prepare makes of a task's spec the process that the machine is to run:
// it looks the user, the program and the working folder up in the root that the
// task sees, and owns the folders that are attempts' own. It starts nothing and
// keeps nothing in mind; the executor calls it before it asks the keeper.
package prepare

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/isolation"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Preparer prepares the attempts of one node.
type Preparer struct {
	Node    string       // name of the node, for the environment
	CPUs    api.MilliCPU // that the node has for tasks
	Mem     api.Bytes    // likewise
	Root    string       // the folder that is / to a task; "" = the machine's
	Hidden  []string     // the node's own folders, which are not for tasks
	Folders *Folders
	Temps   *Temps
	Volumes *Volumes                                          // nil: there are none
	Program func(digest, command string) string               // path of an uploaded program, by the name that the command begins with; of all of them for none
	Open    func(digest string) (io.ReadCloser, int64, error) // the content of an upload, and its bytes
	Env     Environment                                       // beside the task's own; nil: none
	Room    func(bytes int64) error                           // refuses to put so many bytes on the disk; nil: it is not asked

	putting sync.Mutex // files, of one task at a time: each looks what the one before it has left
}

// Environment is what is in a task's environment that only its node knows, below what its
// spec has there. dir is its working folder.
type Environment func(t *api.Task, s *api.TaskSpec, dir string) map[string]string

// Error is why a task cannot start here, in words for its user. Any other error
// is the machine's.
type Error struct {
	text string
	// Code is what a shell would exit with: 127 for a program that is not there,
	// 126 for one that cannot be executed, 0 for anything else.
	Code int
}

// The codes of shells.
const (
	CodeNoProgram = 127
	CodeNotRun    = 126
)

func (e *Error) Error() string { return e.text }

func errorf(format string, a ...any) error { return &Error{text: fmt.Sprintf(format, a...)} }

func (p *Preparer) root() root {
	return root{cmp.Or(p.Root, "/"), p.Node}
}

// Task is the process of an attempt, and makes its working folder if that is its
// own, and its /tmp. What attempts of a submission leave of these as it was is used
// again by others of it; submission 0: by nobody.
func (p *Preparer) Task(id string, t *api.Task, s *api.TaskSpec, submission uint64) (isolation.Spec, error) {
	var none isolation.Spec
	if !filepath.IsLocal(id) || strings.Count(id, "/") != 1 || len(s.Command) == 0 {
		return none, errorf("task %q has no valid id or no command", t.ID)
	}
	who, err := p.account(id, s.User)
	if err != nil {
		return none, err
	}
	around, err := p.confinement(id, t, s)
	if err != nil {
		return none, err
	}
	dir := p.dir(id, s)
	env := p.environ(p.noticePath(id, s), dir, t, s, who)
	if s.TTY != nil {
		env = withTerminal(env)
	}
	args := expand(s.Command, t)
	path := ""
	if own := s.OwnCommand(); own != "" {
		path = filepath.Join(dir, own)
	} else if s.Program != "" {
		path = p.Program(s.Program, args[0])
	} else if path, err = p.root().program(args[0], dir, variable(env, "PATH")); err != nil {
		return none, err
	} else if fetched := s.Dir == "" && within(filepath.Clean(path), dir); !fetched {
		if err := p.seen("program", path, s); err != nil {
			return none, err
		}
		if inTemp(path, s) {
			around.Named = append(around.Named, filepath.Clean(path))
		}
	}
	after := heirOf(t, s, submission, who)
	if err := p.makeDir(id, s, &who, after); err != nil { // the last, as it lasts
		return none, err
	}
	if err := p.putVolumes(id, s, who); err != nil {
		return none, err
	}
	if s.Confined(api.PartTmp) && isolation.MayReplace(tempPath) {
		if around.Temporary, err = p.Temps.Make(id, after); err != nil {
			return none, fmt.Errorf("make the task's %s: %w", tempPath, err)
		}
	}
	return isolation.Spec{
		Program:     isolation.Program{Path: path, Args: args, Env: env, Dir: dir, UID: who.uid, GID: who.gid, Groups: who.groups},
		Confinement: around,
	}, nil
}

// Command is what runs beside a task, with its environment.
type Command struct {
	Args []string
	Env  map[string]string // on top of the task's
	Dir  string            // "" = the task's
	TTY  bool
}

// Beside is the process of a command beside an attempt: the attempt's own, with
// another program. Its user is the task's, as nobody has said who else it may be.
func (p *Preparer) Beside(id string, t *api.Task, s *api.TaskSpec, c Command) (isolation.Spec, error) {
	var none isolation.Spec
	who, err := p.account(id, s.User)
	if err != nil {
		return none, err
	}
	if who.own {
		if who.uid = owner(p.Folders.Dir(id)); who.uid == 0 {
			return none, errorf("the folder of the task is not its own any more, by which its user is known")
		}
		who.belong()
	}
	around, err := p.confinement(id, t, s)
	if err != nil {
		return none, err
	}
	dir := cmp.Or(c.Dir, p.dir(id, s))
	env := p.environ(p.noticePath(id, s), dir, t, s, who)
	if c.TTY {
		env = withTerminal(env)
	}
	for k, v := range c.Env {
		env = slices.DeleteFunc(env, func(old string) bool { return strings.HasPrefix(old, k+"=") })
		env = append(env, k+"="+v)
	}
	args := expand(c.Args, t)
	path := filepath.Join(dir, args[0])
	if filepath.IsAbs(args[0]) {
		path = filepath.Clean(args[0])
	}
	if !strings.Contains(args[0], "/") || !inTemp(path, s) { // what is in its own /tmp is not there for us
		if path, err = p.root().program(args[0], dir, variable(env, "PATH")); err != nil {
			return none, err
		}
	}
	return isolation.Spec{
		Program:     isolation.Program{Path: path, Args: args, Env: env, Dir: dir, UID: who.uid, GID: who.gid, Groups: who.groups, TTY: c.TTY},
		Confinement: around,
	}, nil
}

// withTerminal says what terminal a program has, unless it is said.
func withTerminal(env []string) []string {
	if variable(env, "TERM") == "" {
		env = append(env, "TERM=xterm-256color")
	}
	return env
}

// confinement is the same for a task and for what runs beside it.
func (p *Preparer) confinement(id string, t *api.Task, s *api.TaskSpec) (isolation.Confinement, error) {
	c := isolation.Confinement{Limits: p.limits(t, s), PrivatePIDs: !s.HostPIDs, PrivateMounts: true, Nice: s.Nice, MaxCPU: int64(s.CPULimit)}
	c.ReadOnlySystem, c.PrivateIPC = s.Confined(api.PartSystem), s.Confined(api.PartIPC)
	c.FilterSyscalls = s.Confined(api.PartSyscalls)
	c.LimitDevices = s.Confined(api.PartDevices)
	c.GPUs = c.LimitDevices && t.Resources.GPUs > 0
	if s.Confined(api.PartCapabilities) {
		c.Forbidden = ^isolation.UsualCapabilities
	} else {
		c.AllowNewPrivileges = true
	}
	p.hide(id, t, s, &c)
	if t.Resources.MemExtra > 0 {
		c.OOMScore = isolation.OOMScore(int64(t.Resources.Mem), int64(p.Mem))
	}
	for _, u := range s.Ulimits {
		l, err := isolation.NewRlimit(u.Name, u.Soft, u.Hard)
		if err != nil {
			return c, errorf("ulimit: %v", err)
		}
		c.Rlimits = append(c.Rlimits, l)
	}
	return c, nil
}

// account is who an attempt runs as, still without numbers if those are its own.
func (p *Preparer) account(id, user string) (account, error) {
	if user != api.TaskUser {
		return p.root().lookup(user)
	}
	return p.root().taskUser(p.Folders.Dir(id))
}

// User is who an attempt runs as; false if nobody knows, as with one that has not begun.
func (p *Preparer) User(id string, s *api.TaskSpec) (uid uint32, known bool) {
	who, err := p.account(id, s.User)
	if err == nil && who.own {
		who.uid = owner(p.Folders.Dir(id))
	}
	return who.uid, err == nil && (!who.own || who.uid != 0)
}

// dir is the task's working folder.
func (p *Preparer) dir(id string, s *api.TaskSpec) string { return cmp.Or(s.Dir, p.Folders.Dir(id)) }

// makeDir makes the task's own folder, or looks for the one that it asks for. Who
// has a uid of its own always has a folder, which holds that.
func (p *Preparer) makeDir(id string, s *api.TaskSpec, who *account, after heir) error {
	if s.Dir != "" {
		fi, err := p.root().stat(s.Dir)
		if ofMachine(err) {
			return fmt.Errorf("look at the working folder: %w", err)
		}
		if err != nil || !fi.IsDir() {
			return errorf("working folder %s is not a folder on %s: make it, or leave --dir out", s.Dir, p.root().here())
		}
		if err := p.seen("working folder", s.Dir, s); err != nil {
			return err
		}
		if !who.own {
			return nil
		}
	}
	var taken map[uint32]bool
	if who.own {
		var err error
		if taken, err = p.root().taken(); err != nil {
			return fmt.Errorf("find a user for the task: %w", err)
		}
	}
	dir := p.Folders.Dir(id)
	if err := p.Folders.create(dir, after); err != nil {
		return fmt.Errorf("make the task's folder: %w", err)
	}
	if who.own {
		uid, err := p.Folders.own(dir, taken)
		if err != nil {
			return fmt.Errorf("find a user for the task: %w", err)
		}
		who.uid = uid
		who.belong()
	} else if who.uid != 0 || who.gid != 0 {
		if err := os.Chown(dir, int(who.uid), int(who.gid)); err != nil {
			return fmt.Errorf("give the task its folder: %w", err)
		}
	}
	return nil
}

// Slice is a fresh slice for each attempt. No partition may be called as the
// group of a job is: what bounds ml/x bounds no job x of ml.
func Slice(t *api.Task) string { return slice(t, "job."+t.Job) }

// FormerSlice is the one that a keeper of a version before that was told.
func FormerSlice(t *api.Task) string { return slice(t, t.Job) }

func slice(t *api.Task, job string) string {
	return t.Partition + "/" + job + "/" + strconv.Itoa(t.Index) + "-a" + strconv.Itoa(t.Attempt)
}

// limits are the slice's. There is no memory.high: a task that is only slowed
// down at its limit looks hung, and one that is killed says why.
func (p *Preparer) limits(t *api.Task, s *api.TaskSpec) isolation.Limits {
	return isolation.Limits{CPUWeight: isolation.Weight(int64(t.Resources.CPUs), int64(p.CPUs)), Memory: int64(t.Resources.MemLimit()), PIDs: s.Pids}
}
