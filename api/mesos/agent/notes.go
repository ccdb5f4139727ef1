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

// slackLines are those of tasks that are gone which a note may have at any rate.
const slackLines = 1000

// add notes that an executor may have a task.
func (n *notes) add(h *host, task string) error {
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(n.path(h), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString("\n" + task + "\n") // what stands before it may have been cut short by a full disk
	h.lines++
	return errors.Join(err, f.Close())
}

// shorten has the note of an executor be of the tasks that it has, once most of what it says
// is of tasks that are gone: an executor may be handed a million in its life.
func (n *notes) shorten(h *host) error {
	if h.lines <= 2*len(h.tasks)+slackLines {
		return nil
	}
	var b strings.Builder
	noted, lines := map[string]bool{}, 0
	for id, t := range h.tasks {
		if t.handed || t.spoke || h.noted[id] {
			noted[id] = true
			b.WriteString(id + "\n")
			lines++
		}
	}
	path := n.path(h)
	if err := os.WriteFile(path+".new", []byte(b.String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	h.noted, h.lines = noted, lines
	return nil
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
	for id := range strings.FieldsSeq(string(b)) {
		h.noted[id] = true
		h.lines++
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
