package cli

import (
	"bytes"
	"context"
	"fmt"
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
