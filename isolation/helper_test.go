package isolation

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is ten times what a loaded machine needs: the VM is that slow.
const patience = time.Minute

// skip is for a test that this machine cannot run. In the VM none may.
func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("MESITA_VM") == "1" {
		t.Fatal("would be skipped in the VM: " + why)
	}
	t.Skip(why)
}

// newHost makes a host with a top slice of its own, removed afterwards.
func newHost(t testing.TB) *Host {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "making cgroups needs root")
	}
	name := strings.ToLower(strings.NewReplacer("/", "-", "#", "-", "=", "-").Replace(t.Name()))
	h, err := Detect(Config{Slice: fmt.Sprintf("mesita-test-%d-%.60s.slice", os.Getpid(), name), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if h.Mode() == None {
		skip(t, "there is no cgroup v2 tree here")
	}
	t.Cleanup(func() {
		names, err := h.List()
		if err != nil {
			t.Error(err)
		}
		for _, n := range names {
			if s, err := h.Open(n); err == nil {
				_ = s.Kill()
				remove(t, s)
			}
		}
		eventually(t, "the top slice is removed", func() bool { return removeTree(h.top) == nil })
		if l, ok := h.limiter.(*v1); ok {
			if l.sets != nil {
				if err := removeTree(l.sets.top); err != nil {
					t.Error(err)
				}
			}
			for _, c := range l.controllers {
				if err := removeTree(c.Path(l.top)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	return h
}

// needUnified is for tests of v2 controllers.
func needUnified(t *testing.T) *Host {
	t.Helper()
	h := newHost(t)
	if h.Mode() != Unified {
		skip(t, fmt.Sprintf("needs cgroup v2 controllers: this host is %s", h.Mode()))
	}
	return h
}

// needController is for tests of limits that either version enforces.
func needController(t *testing.T, name string) *Host {
	t.Helper()
	h := newHost(t)
	if !h.limiter.enforces(name) {
		skip(t, "this machine has no "+name+" controller")
	}
	return h
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not so after %s", what, patience)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func create(t testing.TB, h *Host, name string, l Limits) *Slice {
	t.Helper()
	s, err := h.Create(name, l)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func remove(t testing.TB, s *Slice) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Delete(ctx); err != nil {
		t.Error(err)
	}
}

func start(t testing.TB, s *Slice, c Spec) *Process {
	t.Helper()
	p, err := s.Start(c, Files{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wait(t testing.TB, p *Process) Exit {
	t.Helper()
	e, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func program(path string, args ...string) Spec {
	return Spec{Program: Program{Path: path, Args: args, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, Dir: "/"}}
}

func sh(script string) Spec { return program("/bin/sh", "sh", "-c", script) }

// output runs c to its end and returns what it wrote.
func output(t testing.TB, s *Slice, c Spec) (string, Exit) {
	t.Helper()
	return outputOf(t, func(f Files) (*Process, error) { return s.Start(c, f) })
}

func outputOf(t testing.TB, start func(Files) (*Process, error)) (string, Exit) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := start(Files{Stdout: w, Stderr: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b)), wait(t, p)
}

// ready starts c, which must print a line once it is set up.
func ready(t testing.TB, s *Slice, c Spec) *Process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := s.Start(c, Files{Stdout: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 64)); err != nil {
		t.Fatalf("the process did not get ready: %v", err)
	}
	return p
}

func status(t testing.TB, pid int, field string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(b, []byte("\n"+field+":"))
	v, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(bytes.TrimSpace(v))
}

func stats(t testing.TB, s *Slice) Stats {
	t.Helper()
	st, err := s.Stats(All)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }
