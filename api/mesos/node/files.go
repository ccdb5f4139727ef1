package node

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	"github.com/mesita/mesita/api/mesos/rows"
)

const (
	maxRead = 64 << 10 // bytes of a file in one answer
	maxList = 2000     // files of a folder in one answer
)

// What tasks write is kept as a log here, and shown as files by these names.
var streams = []string{"stdout", "stderr"}

// place is a file or folder of a task: in its folder, or what it wrote.
type place struct {
	of   *api.Assignment
	path string // as it was asked for
	in   string // the task's folder; "" if it has none of its own
	rel  string // below it; "." = the folder itself
}

func (p *place) stream() int { return slices.Index(streams, p.rel) }

// find is what a path names: that of a run of an executor, as Mesos calls it, or that of
// a task's folder on this node.
func (s *Server) place(c *exchange.Call, name string) (*place, error) {
	if name == "" {
		return nil, call.Bad("Expecting 'path=value' in query.")
	}
	if len(name) > 4096 || strings.ContainsRune(name, 0) {
		return nil, call.Bad("'path' is not a path")
	}
	clean := path.Clean("/" + name)
	p := s.virtual(c, clean)
	if p == nil {
		p = s.absolute(c, clean)
	}
	if p == nil {
		return nil, s.hidden(c, notFound("Nothing is at "+strconv.Quote(name)+" that you may read: the files of a task are at /frameworks/FRAMEWORK/executors/EXECUTOR/runs/latest"))
	}
	p.path = clean
	c.Subject = exchange.Subject{Object: p.of.Task.ID, Partition: p.of.Task.Partition, Asked: clean}
	return p, nil
}

// virtual finds what is at a path of Mesos.
func (s *Server) virtual(c *exchange.Call, clean string) *place {
	w := strings.Split(strings.TrimPrefix(clean, "/"), "/")
	if len(w) > 2 && w[0] == "slaves" {
		w = w[2:]
	}
	if len(w) < 6 || w[0] != "frameworks" || w[2] != "executors" || w[4] != "runs" {
		return nil
	}
	framework, executor, run, rest := w[1], w[3], w[5], w[6:]
	var found *api.Assignment
	for _, a := range s.kept(c) {
		t := a.Task
		if rows.FrameworkOf(t) != framework || run != "latest" && run != container(t) {
			continue
		}
		left := rest
		switch group := t.Framework != nil && t.Framework.GroupExecutor == executor; {
		case rows.TaskID(t) == executor && t.Framework != nil && !t.Framework.IsExecutor, t.Framework == nil && t.ID == executor:
		case t.Framework != nil && t.Framework.IsExecutor && t.Framework.Executor == executor:
		case group && len(rest) >= 2 && rest[0] == "tasks" && rest[1] == rows.TaskID(t):
			left = rest[2:]
		default:
			continue
		}
		if found == nil || !t.Created.Before(found.Task.Created) {
			found = a
			rest = left
		}
	}
	if found == nil {
		return nil
	}
	return s.in(found, path.Join(rest...))
}

// absolute finds what is in a task's folder by its path on this node.
func (s *Server) absolute(c *exchange.Call, clean string) *place {
	for _, a := range s.kept(c) {
		dir := s.Host.Folder(a.Task.ID, a.Task.Attempt, a.Spec)
		if dir == "" {
			continue
		}
		if clean == dir {
			return s.in(a, "")
		}
		if rest, below := strings.CutPrefix(clean, dir+"/"); below {
			return s.in(a, rest)
		}
	}
	return nil
}

func (s *Server) in(a *api.Assignment, rel string) *place {
	return &place{of: a, in: s.Host.Folder(a.Task.ID, a.Task.Attempt, a.Spec), rel: cmp.Or(rel, ".")}
}

// kept are the attempts that run here or did not long ago and the caller reads.
func (s *Server) kept(c *exchange.Call) []*api.Assignment {
	s.mu.Lock()
	out := slices.Clone(s.recent)
	s.mu.Unlock()
	out = append(out, s.all(c)...)
	return slices.DeleteFunc(out, func(a *api.Assignment) bool { return !s.sees(c, a.Task) || !s.reads(c, a.Task) })
}

// info is what is told of a file.
type info struct {
	path     string
	mode     fs.FileMode
	raw      uint32 // as stat(2) has it
	size     int64
	nlink    int
	mtime    time.Time
	uid, gid uint32
}

func infoOf(path string, fi fs.FileInfo) info {
	out := info{path: path, mode: fi.Mode(), size: fi.Size(), mtime: fi.ModTime(), nlink: 1}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		out.raw, out.nlink, out.uid, out.gid = st.Mode, int(st.Nlink), st.Uid, st.Gid
	}
	return out
}

// list is what is in a folder of a task.
func (s *Server) list(p *place) ([]info, error) {
	if p.stream() >= 0 {
		i, err := s.streamInfo(p, p.stream())
		if err != nil {
			return nil, err
		}
		return []info{i}, nil
	}
	var out []info
	if p.in != "" {
		var err error
		if out, err = listFolder(p); err != nil && !(p.rel == "." && errors.Is(err, fs.ErrNotExist)) {
			return nil, fileError(p, err)
		}
	} else if p.rel != "." {
		return nil, fileError(p, fs.ErrNotExist)
	}
	if p.rel == "." {
		out = slices.DeleteFunc(out, func(i info) bool { return slices.Contains(streams, path.Base(i.path)) })
		for n := range streams {
			if i, err := s.streamInfo(p, n); err == nil {
				out = append(out, i)
			}
		}
	}
	slices.SortFunc(out, func(a, b info) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

// streamInfo is what is told of what a task wrote, as if it were a file.
func (s *Server) streamInfo(p *place, stream int) (info, error) {
	written, at, err := s.Host.Written(p.of.Task.ID, p.of.Task.Attempt)
	if err != nil {
		return info{}, fileError(p, fs.ErrNotExist)
	}
	name := p.path
	if p.rel == "." {
		name = path.Join(p.path, streams[stream])
	}
	return info{path: name, mode: 0o644, raw: syscall.S_IFREG | 0o644, size: written[stream], nlink: 1, mtime: at}, nil
}

// listFolder reads a folder. The task may change what is there meanwhile, and where links
// lead: nothing outside of its folder is looked at.
func listFolder(p *place) ([]info, error) {
	root, err := os.OpenRoot(p.in)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	fi, err := root.Lstat(p.rel)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return []info{infoOf(p.path, fi)}, nil
	}
	f, err := root.OpenFile(p.rel, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(maxList)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var out []info
	for _, name := range names {
		if fi, err := root.Lstat(filepath.Join(p.rel, name)); err == nil { // else it is gone
			out = append(out, infoOf(path.Join(p.path, name), fi))
		}
	}
	return out, nil
}

// open opens a file of a task to be read: a plain one that is its own. A hard link may be
// to what the task itself cannot read.
func open(p *place) (*os.File, fs.FileInfo, error) {
	root, err := os.OpenRoot(p.in)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	whose, err := root.Stat(".")
	if err != nil {
		return nil, nil, err
	}
	if fi, err := root.Stat(p.rel); err != nil {
		return nil, nil, err
	} else if !fi.Mode().IsRegular() {
		return nil, nil, errNotPlain
	}
	f, err := root.OpenFile(p.rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errNotPlain
	}
	if err == nil {
		i, owner := infoOf("", fi), infoOf("", whose)
		if i.nlink > 1 && i.uid != owner.uid {
			err = fs.ErrPermission
		}
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

var errNotPlain = errors.New("it is not a plain file")

// fileError is why a file is not read, in the words of Mesos where it has some.
func fileError(p *place, err error) error {
	switch {
	case errors.Is(err, errNotPlain):
		return call.Bad("Cannot read " + p.path + ": it is a folder, or no plain file")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return notFound("No such file or directory: " + p.path)
	case errors.Is(err, fs.ErrPermission), strings.Contains(err.Error(), "escapes"), errors.Is(err, syscall.ELOOP):
		return forbidden(p.path + " leads out of the task's folder, or is not the task's")
	}
	return &call.Problem{Status: http.StatusInternalServerError, Body: "Failed to read " + p.path + ": it cannot be read on the node"}
}

// read is a part of a file, and how large that is. What is below nothing: nothing of it.
func (s *Server) read(c *exchange.Call, p *place, offset, length int64) (data []byte, size int64, err error) {
	release, err := hold(s.reading, c)
	if err != nil {
		return nil, 0, err
	}
	defer release()
	if n := p.stream(); n >= 0 {
		return s.readStream(c, p, n, offset, length)
	}
	if p.in == "" {
		return nil, 0, fileError(p, fs.ErrNotExist)
	}
	f, fi, err := open(p)
	if err != nil {
		return nil, 0, fileError(p, err)
	}
	defer f.Close()
	size = fi.Size()
	length = min(length, maxRead, size-offset)
	if length <= 0 {
		return nil, size, nil
	}
	data = make([]byte, length)
	n, err := f.ReadAt(data, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, fileError(p, err)
	}
	return data[:n], size, nil
}

var errEnough = errors.New("that is enough")

// readStream is a part of what a task wrote. What is not kept any more is a hole, as in
// a file that was cut off at its beginning: it reads as zeros, and offsets stay as they are.
func (s *Server) readStream(c *exchange.Call, p *place, stream int, offset, length int64) (data []byte, size int64, err error) {
	t := p.of.Task
	written, _, err := s.Host.Written(t.ID, t.Attempt)
	if err != nil {
		return nil, 0, fileError(p, fs.ErrNotExist)
	}
	size = written[stream]
	length = min(length, maxRead, size-offset)
	if length <= 0 {
		return nil, size, nil
	}
	after := [2]int64{-1, -1}
	after[stream] = offset
	data = make([]byte, 0, length)
	err = s.Host.Read(c.R.Context(), t.ID, t.Attempt, after, false, func(o Output) error {
		if o.Lost != 0 || o.Stderr != (stream == 1) {
			return nil
		}
		if hole := o.Pos - int64(len(o.Data)) - offset - int64(len(data)); hole > 0 {
			data = append(data, make([]byte, min(hole, length-int64(len(data))))...)
		}
		data = append(data, o.Data[:min(int64(len(o.Data)), length-int64(len(data)))]...)
		if int64(len(data)) >= length {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, 0, problemOf(err)
	}
	return data, size, nil
}
