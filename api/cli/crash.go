package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
)

const (
	// crashLook is how often it is looked how tasks of a job that is waited for
	// ended.
	crashLook = 2 * time.Second
	// lastLine bounds what is shown of the last line of an output, and how long
	// the node is waited for that has it.
	lastLine     = 200
	lastLineWait = 2 * time.Second
	// alikeEnds is how many starts of a task have to end alike, each within quickEnd,
	// until nobody waits for it any longer.
	alikeEnds = 3
	quickEnd  = 10 * time.Second
)

// crashes tells whoever waits for a job how its tasks end meanwhile, each attempt
// once: "pending" alone does not say that a program fails at each start.
type crashes struct {
	app  *app
	at   time.Time      // of the last look
	told map[string]int // newest attempt by task
}

// tell looks at the task that waits, and says how it ended last. What cannot be
// found out is left out: the user waits for something else. It fails if it is in vain
// to wait any longer.
func (s *crashes) tell(ctx context.Context, cl *client.Client, j *api.Job, st *status) error {
	if j.Stop || j.Counts.Pending == 0 || time.Since(s.at) < crashLook {
		return nil
	}
	s.at = time.Now()
	w, err := cl.Why(ctx, j.ID)
	if err != nil || w.ID == j.ID {
		return nil
	}
	t, err := cl.Task(ctx, w.ID)
	if err != nil || len(t.Earlier) == 0 {
		return nil
	}
	last := &t.Earlier[len(t.Earlier)-1]
	if !diedOf(last, j) || last.Attempt <= s.told[t.ID] {
		return nil
	}
	if !st.quiet {
		s.say(ctx, cl, t, last, st)
	}
	return inVain(ctx, cl, j, t)
}

// diedOf reports whether an attempt ran what a job is now, and ended though nobody
// stopped it.
func diedOf(x *api.Attempt, j *api.Job) bool {
	return x.Version == j.Version && x.Reason != api.ReasonStopped && x.Reason != api.ReasonPreempted
}

// inVain is an error once the starts of a service end alike, at once, and none of its
// tasks runs well.
func inVain(ctx context.Context, cl *client.Client, j *api.Job, t *api.Task) error {
	if j.Spec.Kind != api.KindService || !dies(j, t) {
		return nil
	}
	tasks, err := cl.Tasks(ctx, j.ID, "", false)
	if err != nil {
		return nil
	}
	for _, other := range tasks {
		if !dies(j, other) {
			return nil
		}
	}
	last := &t.Earlier[len(t.Earlier)-1]
	if last.ExitCode != nil && *last.ExitCode == 0 && last.Message == "" {
		return api.Errorf(api.CodeFailed, "%s: a service ended by itself: for work that ends use `mesita job submit`; %d starts ended at once, with exit code 0, and `mesita stop %s` ends that", t.ID, alikeEnds, j.ID)
	}
	return api.Errorf(api.CodeFailed, "%s does not stay up: %d starts of %s ended at once and alike: %s; correct it and run it again, or `mesita stop %s`", j.ID, alikeEnds, t.ID, endText(last), j.ID)
}

// dies reports whether the newest attempts of a task that ended did so alike, each soon
// after its start.
func dies(j *api.Job, t *api.Task) bool {
	n := len(t.Earlier)
	if n < alikeEnds {
		return false
	}
	for i := n - alikeEnds; i < n; i++ {
		x := &t.Earlier[i]
		if !diedOf(x, j) || x.Ended.Sub(x.Started) > quickEnd && !x.Started.IsZero() || !alike(x, &t.Earlier[n-1]) {
			return false
		}
	}
	return true
}

// alike reports whether two attempts ended in the same way, be it on two nodes: their
// messages name the node.
func alike(a, b *api.Attempt) bool {
	text := func(x *api.Attempt) string { return strings.ReplaceAll(x.Message, "node "+x.Node, "node") }
	code := func(x *api.Attempt) int {
		if x.ExitCode == nil {
			return -1
		}
		return *x.ExitCode
	}
	return a.Reason == b.Reason && a.Signal == b.Signal && code(a) == code(b) && text(a) == text(b)
}

// say says how an attempt ended, and what it printed last.
func (s *crashes) say(ctx context.Context, cl *client.Client, t *api.Task, last *api.Attempt, st *status) {
	first := len(s.told) == 0
	if s.told == nil || len(s.told) > 1000 {
		s.told = map[string]int{}
	}
	s.told[t.ID] = last.Attempt
	text := fmt.Sprintf("%s: attempt %d ended on %s: %s", t.ID, last.Attempt, or(last.Node, "no node"), endText(last))
	if !first {
		if line := printed(ctx, cl, t.ID, last.Attempt); line != "" {
			text += "\n  it printed last: " + line
		}
	}
	st.clear()
	s.app.progress("%s", text)
	if first { // the others end alike, or else
		s.app.showEnd(ctx, cl, t.ID, last.Attempt)
	}
	if st.live {
		st.last = "" // it is shown anew
	}
}

// lastLines is how much is shown of what a failed task printed last.
const lastLines = 10

// lastWords shows the end of what a task of a job printed that failed. What cannot be
// had soon is left out: that it failed is said by others.
func (a *app) lastWords(ctx context.Context, cl *client.Client, job string) {
	ctx, cancel := context.WithTimeout(ctx, lastLineWait)
	defer cancel()
	tasks, err := cl.FindTasks(ctx, client.TaskQuery{Job: job, All: true, State: api.TaskFailed.Word(), Limit: 1})
	if err != nil || len(tasks) == 0 {
		return
	}
	a.showEnd(ctx, cl, tasks[0].ID, tasks[0].Attempt)
}

// showEnd shows the last lines that an attempt printed.
func (a *app) showEnd(ctx context.Context, cl *client.Client, task string, attempt int) {
	lines := endOf(ctx, cl, task, attempt)
	if len(lines) == 0 {
		return
	}
	a.progress("%s printed last:", task)
	for _, line := range lines {
		a.progress("  %s", line)
	}
}

// endOf is the last lines that an attempt printed, none if they cannot be had soon.
func endOf(ctx context.Context, cl *client.Client, task string, attempt int) (lines []string) {
	ctx, cancel := context.WithTimeout(ctx, lastLineWait)
	defer cancel()
	const most = lastLines * lastLine
	var text []byte
	err := cl.Logs(ctx, task, client.LogOptions{Attempt: attempt, Tail: lastLines}, func(l client.LogLine) error {
		text = append(text, l.Data...)
		text = text[max(0, len(text)-most):]
		return nil
	})
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(bytes.ToValidUTF8(text, nil))) {
		if line = strings.TrimRight(printable(line), " "); line != "" {
			lines = append(lines, line[max(0, len(line)-lastLine):])
		}
	}
	return lines[max(0, len(lines)-lastLines):]
}

// endText says how an attempt ended.
func endText(x *api.Attempt) string {
	switch {
	case x.Message != "":
		return printable(x.Message)
	case x.Signal != "":
		return "killed by " + x.Signal
	case x.ExitCode != nil:
		return fmt.Sprintf("exit code %d", *x.ExitCode)
	}
	return or(string(x.Reason), "no reason was given")
}

// printed is the end of the last line that an attempt printed, "" if there is
// none, or it cannot be had soon.
func printed(ctx context.Context, cl *client.Client, task string, attempt int) string {
	ctx, cancel := context.WithTimeout(ctx, lastLineWait)
	defer cancel()
	var text []byte
	err := cl.Logs(ctx, task, client.LogOptions{Attempt: attempt, Tail: 1}, func(l client.LogLine) error {
		text = append(text, l.Data...)
		if ended := bytes.TrimRight(text, "\r\n"); len(ended) > 0 { // a line may come in pieces
			if i := bytes.LastIndexByte(ended, '\n'); i >= 0 {
				text = text[i+1:]
			}
		}
		text = text[max(0, len(text)-lastLine):]
		return nil
	})
	if err != nil {
		return ""
	}
	return printable(string(bytes.ToValidUTF8(bytes.TrimSpace(text), nil)))
}
