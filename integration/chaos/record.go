package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// script is what every task runs: sh TASK RECORD SECONDS CODE. It appends what
// it does, one write a line, so the order of lines is the order of what
// happened on all nodes.
const script = `say() { echo "$1 $MESITA_TASK_ID $MESITA_ATTEMPT $MESITA_NODE $2" >>"$record"; }
record=$1
trap 'say stopped 143; exit 143' TERM
say start -
sleep "$2" &
wait $!
say end "$3"
exit "$3"
`

// forever is the sleep of a service.
const forever = "1000000"

// record is what the tasks wrote, and in it what was done to their nodes.
type record struct{ script, file string }

func newRecord(dir string) (*record, error) {
	r := &record{filepath.Join(dir, "task.sh"), filepath.Join(dir, "record")}
	if err := os.WriteFile(r.script, []byte(script), 0o644); err != nil {
		return nil, err
	}
	return r, os.WriteFile(r.file, nil, 0o666)
}

func (r *record) command(seconds string, code int) []string {
	return []string{"/bin/sh", r.script, r.file, seconds, fmt.Sprint(code)}
}

// gone notes that everything on the node ended at once.
func (r *record) gone(node string) error {
	f, err := os.OpenFile(r.file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "gone - 0 %s -\n", node)
	return err
}

// line is one thing that happened.
type line struct {
	what, task string
	attempt    int
	node, code string
}

func (r *record) read() ([]line, error) {
	b, err := os.ReadFile(r.file)
	if err != nil {
		return nil, err
	}
	var out []line
	for text := range strings.Lines(string(b)) {
		var l line
		if n, err := fmt.Sscan(text, &l.what, &l.task, &l.attempt, &l.node, &l.code); n != 5 {
			return nil, fmt.Errorf("the record has %q: %w", text, err)
		}
		out = append(out, l)
	}
	return out, nil
}
