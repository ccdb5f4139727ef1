package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// notes remembers which tasks executors may have been handed, for the next daemon. It is
// not synced: what a crash of the machine loses was of executors that ended with it.
type notes struct{ dir string }

func (n *notes) path(h *host) string { return filepath.Join(n.dir, container(h.row)) }

// add notes that an executor may have a task.
func (n *notes) add(h *host, task string) error {
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(n.path(h), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(task + "\n")
	return errors.Join(err, f.Close())
}

// read takes in, once, what an earlier daemon noted of an executor.
func (h *host) read(n *notes) {
	if h.noted != nil {
		return
	}
	h.noted = map[string]bool{}
	b, err := os.ReadFile(n.path(h))
	if err != nil {
		return // it was handed nothing
	}
	for id := range strings.Lines(string(b)) {
		h.noted[strings.TrimSpace(id)] = true
	}
	h.handed = len(h.noted) > 0
}

func (n *notes) forget(h *host) { _ = os.Remove(n.path(h)) } // tidy removes what is left

// tidy removes the notes of executors that are not to run here any more.
func (n *notes) tidy(hosts map[string]*host) {
	keep := map[string]bool{}
	for _, h := range hosts {
		keep[container(h.row)] = true
	}
	files, err := os.ReadDir(n.dir)
	if err != nil {
		return // there are none
	}
	for _, f := range files {
		if !keep[f.Name()] {
			_ = os.Remove(filepath.Join(n.dir, f.Name())) // a few bytes that are left do no harm
		}
	}
}
