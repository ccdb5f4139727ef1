// Package record is what the tasks of a chaos write of themselves: each start and
// end is a line of one file, appended by the task in one write, so the order of
// lines is the order of what happened on all nodes. It owns the script that
// tasks run, the file, and the rules of what may follow what; command
// integration/chaos calls it.
package record

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// script is what every task runs, as sh SCRIPT RECORD SECONDS CODE.
const script = `say() { read -r now rest </proc/uptime; echo "$1 $MESITA_TASK_ID $MESITA_ATTEMPT $MESITA_NODE $2 $now" >>"$record"; }
record=$1
trap 'say stopped 143; exit 143' TERM
say start -
sleep "$2" &
wait $!
trap '' TERM
say end "$3"
exit "$3"
`

// Forever is the sleep of a service.
const Forever = "1000000"

// Record is what the tasks wrote, and in it what was done to their nodes.
type Record struct{ script, file string }

// New makes the script and an empty record in a folder.
func New(dir string) (*Record, error) {
	r := &Record{filepath.Join(dir, "task.sh"), filepath.Join(dir, "record")}
	if err := os.WriteFile(r.script, []byte(script), 0o644); err != nil {
		return nil, err
	}
	return r, os.WriteFile(r.file, nil, 0o666)
}

// Command is that of a task which takes so many seconds and ends with the code.
func (r *Record) Command(seconds string, code int) []string {
	return []string{"/bin/sh", r.script, r.file, seconds, fmt.Sprint(code)}
}

// Parted notes that there are two clusters from now on, of which each may give
// the next number to an attempt; Whole, that there is one again.
func (r *Record) Parted() error { return r.note("parted", "-", 0, "-", "-") }

// Whole ends what Parted began.
func (r *Record) Whole() error { return r.note("whole", "-", 0, "-", "-") }

// Gone notes that everything on the node ended at once.
func (r *Record) Gone(node string) error { return r.note("gone", "-", 0, node, "-") }

// Trouble notes that a node cannot be asked for what it runs from now on, or only
// its keeper can (Away), until Sound with the same span.
func (r *Record) Trouble(how Trouble, span, node string) error {
	return r.note(string(how), span, 0, node, "-")
}

// Sound notes that the node was taken in again after what began with the span,
// and what look then finds to run there: who was killed wrote nothing.
func (r *Record) Sound(span, node string, look func() []Attempt) error {
	if err := r.note("look", "-", 0, node, span); err != nil {
		return err
	}
	for _, a := range look() {
		if err := r.note("lives", a.Task, a.Number, node, span); err != nil {
			return err
		}
	}
	return r.note("sound", span, 0, node, span)
}

func (r *Record) note(what, task string, attempt int, node, code string) error {
	now, err := sinceBoot()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(r.file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %s %d %s %s %s\n", what, task, attempt, node, code, now)
	return errors.Join(err, f.Close())
}

// Uptime is the time as lines have it, in seconds since boot.
func Uptime() (float64, error) {
	now, err := sinceBoot()
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(now, 64)
}

// sinceBoot is the time as tasks read it.
func sinceBoot() (string, error) {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return "", err
	}
	now, _, _ := strings.Cut(string(b), " ")
	return now, nil
}

// Line is one thing that happened.
type Line struct {
	What, Task string // start, end or stopped; gone, parted, whole; a Trouble or sound, whose span is in Task; look, lives, with the span in Code
	Attempt    int
	Node, Code string
	At         float64 // seconds since boot
}

// Read returns all lines in their order.
func (r *Record) Read() ([]Line, error) {
	b, err := os.ReadFile(r.file)
	if err != nil {
		return nil, err
	}
	var out []Line
	for text := range strings.Lines(string(b)) {
		var l Line
		if n, err := fmt.Sscan(text, &l.What, &l.Task, &l.Attempt, &l.Node, &l.Code, &l.At); n != 6 {
			return nil, fmt.Errorf("the record has %q: %w", text, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// InCommandLine is a part of the command line of every shell that runs the
// script.
func (r *Record) InCommandLine() string { return r.script + "\x00" + r.file }
