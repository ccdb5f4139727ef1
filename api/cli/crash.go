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
)

// crashes tells whoever waits for a job how its tasks end meanwhile, each attempt
// once: "pending" alone does not say that a program fails at each start.
type crashes struct {
	app  *app
	at   time.Time      // of the last look
	told map[string]int // newest attempt by task
}

// tell looks at the task that waits, and says how it ended last. What cannot be
// found out is left out: the user waits for something else.
func (s *crashes) tell(ctx context.Context, cl *client.Client, j *api.Job, st *status) {
	if st.quiet || j.Stop || j.Counts.Pending == 0 || time.Since(s.at) < crashLook {
		return
	}
	s.at = time.Now()
	w, err := cl.Why(ctx, j.ID)
	if err != nil || w.ID == j.ID {
		return
	}
	t, err := cl.Task(ctx, w.ID)
	if err != nil || len(t.Earlier) == 0 {
		return
	}
	last := t.Earlier[len(t.Earlier)-1]
	if last.Version != j.Version || last.Reason == api.ReasonStopped || last.Attempt <= s.told[t.ID] {
		return
	}
	if s.told == nil || len(s.told) > 1000 {
		s.told = map[string]int{}
	}
	s.told[t.ID] = last.Attempt
	text := fmt.Sprintf("%s: attempt %d ended on %s: %s", t.ID, last.Attempt, or(last.Node, "no node"), endText(&last))
	if line := printed(ctx, cl, t.ID, last.Attempt); line != "" {
		text += "\n  it printed last: " + line
	}
	st.clear()
	s.app.progress("%s", text)
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
