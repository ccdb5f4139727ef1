package fsm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// Who acknowledges nothing starts nothing any more, before what is kept for it is too much.
func TestWhatIsNotAcknowledgedIsBounded(t *testing.T) {
	s := offered(t)
	info := make([]byte, 64<<10)
	batch := func() string {
		var tasks []FrameworkLaunch
		for i := range 100 {
			l := launchOf(fmt.Sprint("t", i), 1)
			l.Resources.Mem, l.Task.Info = 1, info
			tasks = append(tasks, l)
		}
		a := accept(t, s, []string{"o0"}, tasks...)
		offerAll(t, s, "f")
		return a.Refused[0]
	}
	rounds := 0
	for ; rounds < 20; rounds++ {
		if why := batch(); why != "" {
			if !strings.Contains(why, "64MiB") {
				t.Error(why)
			}
			break
		}
		for i := range 100 {
			report(t, s, fmt.Sprint("t", i), api.TaskFinished)
		}
	}
	if kept := s.View().t.newsBytes("f"); rounds != 11 || kept > 80<<20 {
		t.Errorf("after %d rounds %d bytes are kept", rounds, kept)
	}
	for n := range s.View().FrameworkNews("f") {
		propose(t, s, &FrameworkAck{Framework: "f", Acks: []Ack{{n.Job, n.Index, n.Updates[0].ID}}})
	}
	if why := batch(); why != "" || s.View().t.newsBytes("f") != 0 {
		t.Errorf("once it acknowledged all: %q, and %d bytes are kept", why, s.View().t.newsBytes("f"))
	}
}

// What is shown of the message of an executor is bounded; its framework is told all of it.
func TestTheMessageOfAnExecutorIsCut(t *testing.T) {
	s := hosted(t)
	row := s.View().FrameworkTask("f", "a")
	propose(t, s, &TaskReport{Meta: Meta{At: testInit().At}, Statuses: []api.TaskStatus{{Task: row.ID, Attempt: 1, NodeID: row.NodeID, State: api.TaskRunning, Time: testInit().At,
		Message: strings.Repeat("ä", 40_000), Update: &api.ExecutorUpdate{ID: []byte("0123456789abcdef"), Status: []byte("status")}}}})
	if got := s.View().FrameworkTask("f", "a").Message; got != strings.Repeat("ä", maxSaid/2) {
		t.Errorf("%d bytes of it are kept: %q", len(got), got[max(0, len(got)-8):])
	}
}
