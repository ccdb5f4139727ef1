package prepare

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api/program"
	"github.com/mesita/mesita/isolation"
)

func coded(code int, format string, a ...any) error {
	e := errorf(format, a...)
	var own *Error
	if errors.As(e, &own) {
		own.Code = code
	}
	return e
}

// NotRun is why a process did not become its program, in the user's words. What
// the kernel says of it is one of a dozen numbers, and the same for a script
// whose interpreter is missing as for one that is missing itself, so the program
// is looked at. said is what came of the start.
func (p *Preparer) NotRun(s *isolation.Spec, said error) error {
	name, where := s.Args[0], p.root().here()
	text := p.unnamed(s, said)
	if _, what, ok := strings.Cut(text, isolation.ReachOp+" "); ok {
		return errorf("user %d cannot come to what the task names on %s (%s): change its permissions, or run as another with --user", s.UID, where, what)
	}
	if !strings.Contains(text, "fork/exec ") && !strings.Contains(text, "chdir ") {
		return &Error{text: text} // such as a limit that cannot be set
	}
	for _, prefix := range []string{"start " + name + ": ", "start " + s.Path + ": ", "fork/exec " + name + ": "} {
		text = strings.TrimPrefix(text, prefix)
	}
	if strings.HasPrefix(text, "chdir ") {
		return errorf("the working folder %s cannot be entered by user %d on %s (%s): choose another with --dir or --user", s.Dir, s.UID, where, text)
	}
	if ownFile(s) {
		code := CodeNotRun
		if strings.HasSuffix(text, unix.ENOENT.Error()) {
			code = CodeNoProgram
		}
		return coded(code, "program %s cannot be executed in the task's own %s on %s: %s", name, ownFolder(s.Path), where, text)
	}
	of := p.root()
	if p.uploaded(s) {
		of = root{dir: "/", node: p.Node}
	}
	f, err := of.openFile(s.Path)
	if err != nil {
		return coded(CodeNotRun, "program %s cannot be executed on %s: %s", name, where, text)
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && !mayExecute(fi, s.UID, s.GID, s.Groups) {
		return coded(CodeNotRun, "program %s may not be executed by user %d on %s: change its permissions, or run it as another with --user", name, s.UID, where)
	}
	is, err := program.Look(f)
	switch {
	case errors.Is(err, program.ErrEmpty), errors.Is(err, program.ErrUnknown), errors.Is(err, program.ErrCut), errors.Is(err, program.ErrNoShell):
		return coded(CodeNotRun, "program %s %v", name, err)
	case err != nil:
		return coded(CodeNotRun, "program %s cannot be executed on %s: %s", name, where, text)
	case is.Arch != "" && is.Arch != runtime.GOARCH:
		return coded(CodeNotRun, "program %s is built for %s and %s is of %s: build it for that, or ask for other nodes with --constraint arch=%s", name, is.Arch, where, runtime.GOARCH, is.Arch)
	case is.DOS():
		return coded(CodeNotRun, "the first line of script %s ends as in DOS, with a carriage return that the kernel takes for a part of the interpreter's name: convert it, with dos2unix for instance", name)
	}
	needs := is.Needs
	if !filepath.IsAbs(needs) {
		needs = filepath.Join(s.Dir, needs)
	}
	switch lacks := is.Needs != "" && p.root().executable(needs) != nil; {
	case lacks && is.Script:
		return coded(CodeNotRun, "script %s names the interpreter %s, which %s cannot execute: install it there, or change the script's first line", name, is.Needs, where)
	case lacks:
		return coded(CodeNotRun, "program %s needs the loader %s, which is not on %s: it was built for another distribution; link it statically, or install what it needs", name, is.Needs, where)
	}
	return coded(CodeNotRun, "program %s cannot be executed on %s: %s", name, where, text)
}

// ownFile reports whether the program is a file in a folder that the task has of its
// own: the one of that name outside is another.
func ownFile(s *isolation.Spec) bool {
	path := filepath.Clean(s.Path)
	return s.PrivateMemory && ownFolder(path) != "" && !slices.Contains(s.Named, path) &&
		!slices.ContainsFunc(s.Reached, func(seen string) bool { return within(path, seen) })
}

// uploaded reports whether the program is a file of ours under its digest, which
// means nothing to the user.
func (p *Preparer) uploaded(s *isolation.Spec) bool {
	return p.Program != nil && strings.HasPrefix(s.Path, p.Program("", ""))
}

// Named is an error with the program's own name in place of the path of its
// upload.
func (p *Preparer) Named(s *isolation.Spec, err error) error {
	if err == nil {
		return nil
	}
	if text := p.unnamed(s, err); text != err.Error() {
		return &named{text, err}
	}
	return err
}

type named struct {
	text string
	err  error
}

func (e *named) Error() string { return e.text }
func (e *named) Unwrap() error { return e.err }

func (p *Preparer) unnamed(s *isolation.Spec, err error) string {
	if len(s.Args) == 0 || !p.uploaded(s) {
		return err.Error()
	}
	return strings.ReplaceAll(err.Error(), s.Path, s.Args[0])
}

// mayExecute is what the permissions say, without access lists.
func mayExecute(fi os.FileInfo, uid, gid uint32, groups []uint32) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	mode := fi.Mode().Perm()
	switch {
	case uid == 0:
		return mode&0o111 != 0
	case uid == st.Uid:
		return mode&0o100 != 0
	case gid == st.Gid || slices.Contains(groups, st.Gid):
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}
