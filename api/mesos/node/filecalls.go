package node

import (
	"io"
	"math"
	"path"
	"strconv"
	"time"

	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// listFiles answers LIST_FILES.
func (s *Server) listFiles(c *exchange.Call, r *request) (any, error) {
	p, err := s.place(c, r.call.ListFiles.Path)
	if err != nil {
		return nil, err
	}
	files, err := s.list(p)
	if err != nil {
		return nil, err
	}
	m := &v1.AgentResponseListFiles{}
	for _, f := range files {
		m.FileInfos = append(m.FileInfos, &v1.FileInfo{Path: f.path, Nlink: new(int32(f.nlink)), Size: new(uint64(f.size)), Mtime: &v1.TimeInfo{Nanoseconds: f.mtime.UnixNano()},
			Mode: &f.raw, UID: new(account(f.uid)), GID: new(account(f.gid))})
	}
	return s.answer(c, r, &v1.AgentResponse{ListFiles: m})
}

// account is how a file's owner is called.
func account(id uint32) string {
	if id == 0 {
		return "root"
	}
	return strconv.FormatUint(uint64(id), 10)
}

// readFile answers READ_FILE.
func (s *Server) readFile(c *exchange.Call, r *request) (any, error) {
	q := r.call.ReadFile
	p, err := s.place(c, q.Path)
	if err != nil {
		return nil, err
	}
	length := int64(maxRead)
	if q.Length != nil {
		length = int64(min(*q.Length, maxRead))
	}
	data, size, err := s.read(c, p, int64(min(q.Offset, math.MaxInt64)), length)
	if err != nil {
		return nil, err
	}
	return s.answer(c, r, &v1.AgentResponse{ReadFile: &v1.AgentResponseReadFile{Size: uint64(size), Data: data}})
}

// browse answers /files/browse.
func (s *Server) browse(c *exchange.Call) (any, error) {
	p, err := s.place(c, c.Query.Text("path"))
	if err != nil {
		return nil, err
	}
	files, err := s.list(p)
	if err != nil {
		return nil, err
	}
	type file struct {
		GID   string  `json:"gid"`
		Mode  string  `json:"mode"`
		Mtime float64 `json:"mtime"`
		Nlink int     `json:"nlink"`
		Path  string  `json:"path"`
		Size  int64   `json:"size"`
		UID   string  `json:"uid"`
	}
	out := make([]file, 0, len(files))
	for _, f := range files {
		out = append(out, file{account(f.gid), modeText(&f), float64(f.mtime.Unix()), f.nlink, f.path, f.size, account(f.uid)})
	}
	return document(c, out)
}

// modeText is a mode as ls shows it.
func modeText(f *info) string {
	b := []byte(f.mode.String())
	perm := b[len(b)-9:]
	kind := byte('-')
	switch {
	case f.mode.IsDir():
		kind = 'd'
	case f.mode&^0o777 != 0:
		kind = b[0] | 0x20 // l of a link, p of a pipe, s of a socket
	}
	return string(kind) + string(perm)
}

// readText answers /files/read; an offset of -1 asks how large a file is.
func (s *Server) readText(c *exchange.Call) (any, error) {
	p, err := s.place(c, c.Query.Text("path"))
	if err != nil {
		return nil, err
	}
	offset, err := number(c, "offset", -1)
	if err != nil {
		return nil, err
	}
	length, err := number(c, "length", maxRead)
	if err != nil {
		return nil, err
	}
	if length < 0 {
		length = maxRead
	}
	at := max(offset, 0)
	if offset == -1 {
		length = 0
	}
	data, size, err := s.read(c, p, at, length)
	if err != nil {
		return nil, err
	}
	if offset == -1 {
		at = size
	}
	return document(c, struct {
		Data   string `json:"data"`
		Offset int64  `json:"offset"`
	}{string(data), at})
}

func number(c *exchange.Call, name string, otherwise int64) (int64, error) {
	text := c.Query.Text(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < -1 {
		return 0, call.Bad("Failed to parse " + name + ": " + strconv.Quote(text) + " is not a number of bytes, nor -1")
	}
	return n, nil
}

// download answers /files/download: a whole file.
func (s *Server) download(c *exchange.Call) (any, error) {
	p, err := s.place(c, c.Query.Text("path"))
	if err != nil {
		return nil, err
	}
	_, size, err := s.read(c, p, 0, 0)
	if err != nil {
		return nil, err
	}
	release, err := hold(s.reading, c)
	if err != nil {
		return nil, err
	}
	defer release()
	c.W.Header().Set("Content-Disposition", "attachment; filename="+strconv.Quote(path.Base(p.path)))
	out := exchange.NewStream(c)
	if out.Begin("application/octet-stream") != nil {
		return exchange.Done{}, nil
	}
	if p.stream() >= 0 {
		after := [2]int64{-1, -1}
		after[p.stream()] = 0
		_ = s.Host.Read(c.R.Context(), p.of.Task.ID, p.of.Task.Attempt, after, false, func(o Output) error { return out.Write(o.Data, false) }) // the reader left if this fails
		return exchange.Done{}, nil
	}
	f, _, err := open(p)
	if err != nil {
		return exchange.Done{}, nil
	}
	defer f.Close()
	_, _ = io.CopyBuffer(onlyWriter{out}, io.LimitReader(f, size), make([]byte, maxRead)) // the reader left if this fails
	return exchange.Done{}, nil
}

type onlyWriter struct{ exchange.Stream }

func (w onlyWriter) Write(p []byte) (int, error) {
	if err := w.Stream.Write(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// debugFiles answers /files/debug: which paths there are, and where they are on this node.
func (s *Server) debugFiles(c *exchange.Call) (any, error) {
	out := map[string]string{}
	for _, a := range s.all(c) {
		out[virtualPath(a.Task)] = s.Host.Folder(a.Task.ID, a.Task.Attempt, a.Spec)
	}
	return document(c, out)
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}
