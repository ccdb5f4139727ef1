package prepare

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
)

// environ is the environment of a task, without double names: what the user
// gave wins over the defaults, but not over the facts.
func (p *Preparer) environ(notice, dir string, t *api.Task, s *api.TaskSpec, who account) []string {
	out := make([]string, 0, 16+len(s.Env)+len(t.Ports))
	for k, v := range map[string]string{"PATH": defaultPath, "HOME": who.home, "USER": who.name, "LOGNAME": who.name} {
		if _, given := s.Env[k]; !given {
			out = append(out, k+"="+v)
		}
	}
	if p.Env != nil {
		for k, v := range p.Env(t, s, dir) {
			if _, given := s.Env[k]; !given {
				out = append(out, k+"="+v)
			}
		}
	}
	for k, v := range s.Env {
		if !strings.HasPrefix(k, "MESITA_") {
			out = append(out, k+"="+v)
		}
	}
	out = append(out, "MESITA_TASK_ID="+t.ID, "MESITA_JOB="+t.Job, "MESITA_INDEX="+strconv.Itoa(t.Index),
		"MESITA_ATTEMPT="+strconv.Itoa(t.Attempt), "MESITA_NODE="+p.Node, "MESITA_PARTITION="+t.Partition, "MESITA_CPUS="+t.Resources.CPUs.String())
	if notice != "" {
		out = append(out, "MESITA_NOTICE="+notice)
	}
	for name, port := range t.Ports {
		out = append(out, "MESITA_PORT_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+strconv.Itoa(port))
	}
	for k, v := range s.Env { // names of ours that have no meaning of ours
		if strings.HasPrefix(k, "MESITA_") && !hasVar(out, k) {
			out = append(out, k+"="+v)
		}
	}
	slices.Sort(out) // the same for each attempt
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

// program looks the command up as the task's shell would.
func (r root) program(name, dir, path string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		err := r.executable(name)
		switch {
		case ofMachine(err):
			return "", fmt.Errorf("look at program %s: %w", name, err)
		case errors.Is(err, os.ErrNotExist):
			return "", coded(CodeNoProgram, "program %s does not exist on %s: give the path of one that does", name, r.here())
		case err != nil:
			return "", coded(CodeNotRun, "program %s %v on %s: give the path of a program there", name, err, r.here())
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
		err := r.executable(p)
		if err == nil {
			return p, nil
		}
		if ofMachine(err) {
			failed = err
		}
	}
	if failed != nil {
		return "", fmt.Errorf("look for program %q: %w", name, failed)
	}
	return "", coded(CodeNoProgram, "program %q is in none of the folders of PATH (%s) on %s: install it there, or give its full path", name, path, r.here())
}

func (r root) executable(path string) error {
	fi, err := r.stat(path)
	switch {
	case errors.Is(err, unix.ENOTDIR):
		return os.ErrNotExist
	case err != nil:
		var failed *os.PathError
		if errors.As(err, &failed) {
			err = fmt.Errorf("cannot be found (%w)", failed.Err)
		}
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

// ofMachine reports whether an error of a look at a path says nothing about what is
// there, such as one of a disk, or of a daemon that has too many files open.
func ofMachine(err error) bool {
	var no unix.Errno
	return errors.As(err, &no) && !slices.Contains([]unix.Errno{unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.EPERM, unix.ELOOP, unix.ENAMETOOLONG}, no)
}

// OfDisk reports whether an error is the disk's and says nothing about what was
// looked for on it.
func OfDisk(err error) bool {
	for _, no := range []unix.Errno{unix.EIO, unix.EROFS, unix.ENOSPC, unix.EDQUOT, unix.ENODEV, unix.ENXIO, unix.ESTALE, unix.EUCLEAN} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
