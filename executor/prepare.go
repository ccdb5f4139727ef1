package executor

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/isolation"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// account is who a task runs as.
type account struct {
	uid, gid   uint32
	groups     []uint32
	name, home string
}

// startError is why a task cannot start, in words for its user.
type startError struct{ text string }

func (e *startError) Error() string { return e.text }

func startErrorf(format string, a ...any) error { return &startError{fmt.Sprintf(format, a...)} }

// prepareReason classes an error from before the keeper was asked: what the task
// needs is missing here, or else something is wrong with the machine.
func prepareReason(err error) api.Reason {
	var own *startError
	if errors.As(err, &own) {
		return api.ReasonStartFailed
	}
	return machineReason(err)
}

// startReason classes an error of the keeper. An old one tells no program that
// cannot be executed apart.
func startReason(err error) api.Reason {
	if errors.Is(err, keeper.ErrProgram) || errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return api.ReasonStartFailed
	}
	return machineReason(err)
}

func machineReason(err error) api.Reason {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return api.ReasonDiskFull
	}
	return api.ReasonInternal
}

// ofDisk tells whether an error is the disk's and says nothing about what was
// looked for on it.
func ofDisk(err error) bool {
	for _, no := range []unix.Errno{unix.EIO, unix.EROFS, unix.ENOSPC, unix.EDQUOT, unix.ENODEV, unix.ENXIO, unix.ESTALE, unix.EUCLEAN} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// lookupUser finds a user of this node by name or number; "" is root. A number
// need not have an account.
func lookupUser(name string) (account, error) {
	if name == "" || name == "root" {
		return account{name: "root", home: "/root"}, nil
	}
	id, numErr := strconv.ParseUint(name, 10, 31)
	u, err := user.Lookup(name)
	if err != nil && numErr == nil {
		u, err = user.LookupId(name)
		if err != nil {
			return account{uid: uint32(id), gid: uint32(id), name: name, home: "/"}, nil
		}
	}
	if err != nil {
		return account{}, startErrorf("user %q does not exist on this node: add it, or run as another with --user", name)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return account{}, startErrorf("user %q has an account without numbers: %v", name, err)
	}
	a := account{uid: uint32(uid), gid: uint32(gid), name: u.Username, home: u.HomeDir}
	groups, err := u.GroupIds()
	if err != nil {
		return account{}, startErrorf("the groups of user %q cannot be read: %v", name, err)
	}
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			a.groups = append(a.groups, uint32(n))
		}
	}
	return a, nil
}

// environ is the environment of a task, without double names: what the user
// gave wins over the defaults, but not over the facts.
func environ(node string, t *api.Task, s *api.JobSpec, who account) []string {
	out := make([]string, 0, 16+len(s.Env)+len(t.Ports))
	for k, v := range map[string]string{"PATH": defaultPath, "HOME": who.home, "USER": who.name, "LOGNAME": who.name} {
		if _, given := s.Env[k]; !given {
			out = append(out, k+"="+v)
		}
	}
	for k, v := range s.Env {
		if !strings.HasPrefix(k, "MESITA_") {
			out = append(out, k+"="+v)
		}
	}
	out = append(out, "MESITA_TASK_ID="+t.ID, "MESITA_JOB="+t.Job, "MESITA_INDEX="+strconv.Itoa(t.Index),
		"MESITA_ATTEMPT="+strconv.Itoa(t.Attempt), "MESITA_NODE="+node, "MESITA_PARTITION="+t.Partition)
	for name, port := range t.Ports {
		out = append(out, "MESITA_PORT_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+strconv.Itoa(port))
	}
	for k, v := range s.Env { // names of ours that have no meaning of ours
		if strings.HasPrefix(k, "MESITA_") && !hasVar(out, k) {
			out = append(out, k+"="+v)
		}
	}
	return out
}

func hasVar(env []string, name string) bool {
	for _, v := range env {
		if strings.HasPrefix(v, name) && len(v) > len(name) && v[len(name)] == '=' {
			return true
		}
	}
	return false
}

// expand puts the task's ports, index and attempt into its arguments:
// {http}, {index}, {attempt}. What is in braces but none of these stays.
func expand(args []string, t *api.Task) []string {
	pairs := []string{"{index}", strconv.Itoa(t.Index), "{attempt}", strconv.Itoa(t.Attempt)}
	for name, port := range t.Ports {
		pairs = append(pairs, "{"+name+"}", strconv.Itoa(port))
	}
	r := strings.NewReplacer(pairs...)
	out := make([]string, len(args))
	for i, a := range args {
		if out[i] = a; strings.Contains(a, "{") {
			out[i] = r.Replace(a)
		}
	}
	return out
}

// findProgram looks the command up as the task's shell would.
func findProgram(name, dir, path string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		if err := executable(name); ofDisk(err) {
			return "", fmt.Errorf("look at program %s: %w", name, err)
		} else if err != nil {
			return "", startErrorf("program %s: %v: give the path of a program that is on this node, or of a local one to upload", name, err)
		}
		return name, nil
	}
	var failed error
	for _, d := range filepath.SplitList(path) {
		if d == "" {
			d = "."
		}
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		p := filepath.Join(d, name)
		err := executable(p)
		if err == nil {
			return p, nil
		}
		if ofDisk(err) {
			failed = err
		}
	}
	if failed != nil {
		return "", fmt.Errorf("look for program %q: %w", name, failed)
	}
	return "", startErrorf("program %q is in none of the folders of PATH (%s) on this node: install it there, or give its full path", name, path)
}

func executable(path string) error {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return errors.New("does not exist")
	case err != nil:
		return err
	case fi.IsDir():
		return errors.New("is a folder")
	case fi.Mode()&0o111 == 0:
		return errors.New("is not executable")
	}
	return nil
}

func variable(env []string, name string) string {
	for _, v := range env {
		if len(v) > len(name) && v[len(name)] == '=' && v[:len(name)] == name {
			return v[len(name)+1:]
		}
	}
	return ""
}

// taskDir is the attempt's own folder. It is one level deep, since making a
// folder costs as much as starting a process.
func (e *Executor) taskDir(id string) string {
	return filepath.Join(e.folders.root, strings.Replace(id, "/", ".", 1))
}

func (e *Executor) logDir(id string) string { return filepath.Join(e.cfg.DataDir, "logs", id) }

// workDir is the task's working folder, made if it is its own.
func (e *Executor) workDir(id string, s *api.JobSpec, who account) (string, error) {
	if s.Dir != "" {
		fi, err := os.Stat(s.Dir)
		if ofDisk(err) {
			return "", fmt.Errorf("look at the working folder: %w", err)
		}
		if err != nil || !fi.IsDir() {
			return "", startErrorf("working folder %s is no folder on this node: make it, or leave --dir out", s.Dir)
		}
		return s.Dir, nil
	}
	dir := e.taskDir(id)
	if err := e.folders.create(dir); err != nil {
		return "", fmt.Errorf("make the task's folder: %w", err)
	}
	if who.uid != 0 {
		if err := os.Chown(dir, int(who.uid), int(who.gid)); err != nil {
			return "", fmt.Errorf("give the task its folder: %w", err)
		}
	}
	return dir, nil
}

// prepare makes the request to start an attempt.
func (e *Executor) prepare(id string, t *api.Task, s *api.JobSpec) (keeper.StartRequest, error) {
	var none keeper.StartRequest
	if !filepath.IsLocal(id) || strings.Count(id, "/") != 1 || len(s.Command) == 0 {
		return none, startErrorf("task %q has no valid id or no command", t.ID)
	}
	who, err := lookupUser(s.User)
	if err != nil {
		return none, err
	}
	dir, err := e.workDir(id, s, who)
	if err != nil {
		return none, err
	}
	env := environ(e.cfg.Name, t, s, who)
	args := expand(s.Command, t)
	path := e.blobs.Path(s.Program)
	if s.Program == "" {
		if path, err = findProgram(args[0], dir, variable(env, "PATH")); err != nil {
			return none, err
		}
	}
	return keeper.StartRequest{
		ID: id, Slice: sliceName(t),
		Spec: isolation.Spec{
			Program:     isolation.Program{Path: path, Args: args, Env: env, Dir: dir, UID: who.uid, GID: who.gid, Groups: who.groups},
			Confinement: confinement(t, s),
		},
		LogDir: e.logDir(id), LogMax: int64(s.LogMax),
	}, nil
}

// confinement is the same for a task and for what runs beside it.
func confinement(t *api.Task, s *api.JobSpec) isolation.Confinement {
	return isolation.Confinement{Limits: limits(t, s), PrivatePIDs: !s.HostPIDs, PrivateMounts: true, AllowNewPrivileges: s.Privileged}
}

// sliceName is a fresh slice for each attempt.
func sliceName(t *api.Task) string {
	return t.Partition + "/" + t.Job + "/" + strconv.Itoa(t.Index) + "-a" + strconv.Itoa(t.Attempt)
}

// limits are the slice's. There is no memory.high: a task that is only slowed
// down at its limit looks hung, and one that is killed says why.
func limits(t *api.Task, s *api.JobSpec) isolation.Limits {
	cpus := int64(t.Resources.CPUs)
	return isolation.Limits{
		MilliCPU: cpus, CPUWeight: uint64(min(max(cpus/10, 1), 10_000)),
		Memory: int64(t.Resources.Mem), PIDs: s.Pids,
	}
}

func memory(a *attempt) api.Bytes { return a.task.Resources.Mem }
