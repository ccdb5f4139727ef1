package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
)

// keptAtOnce is what keepers that are out there take in one question; it never changes.
const keptAtOnce = 32

// conversation is a connection to a keeper that serves.
func conversation(t *testing.T) *conn {
	t.Helper()
	dir := t.TempDir()
	inProcess(t, dir)
	k, _, err := dialWithin(dir, true, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.sock.Close() })
	return k
}

// says sends a request, with files, and returns the answer.
func (c *conn) says(t *testing.T, m *message, files ...*os.File) *message {
	t.Helper()
	if err := c.sendFiles(m, files); err != nil {
		t.Fatalf("%s: %v", m.Op, err)
	}
	r, err := c.awaited(opAnswer)
	if err != nil || r.Seq != m.Seq {
		t.Fatalf("%s: %+v, %v", m.Op, r, err)
	}
	return r
}

// A request that a keeper cannot take, as one of a newer daemon may be, is answered with an
// error, and what else is asked over the connection is answered as before: without it a
// daemon hears of no end.
func TestARefusedRequestIsAnswered(t *testing.T) {
	k := conversation(t)
	for i, m := range []*message{
		{Op: opStats, IDs: slices.Repeat([]string{"a.0/1"}, keptAtOnce+1)}, {Op: opStats},
		{Op: opStart}, {Op: opPrepare}, {Op: opExec}, {Op: opVouch}, {Op: opSignal}, {Op: opKill}, {Op: opFreeze}, {Op: opThaw}, {Op: "new"},
	} {
		m.Seq = uint64(2*i + 1)
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		var files []*os.File
		if m.Op == opExec {
			files = []*os.File{write}
		}
		r := k.says(t, m, files...)
		write.Close()
		if r.Error == nil || r.Error.Message == "" {
			t.Errorf("%s: %+v", m.Op, r)
		}
		end := []unix.PollFd{{Fd: int32(read.Fd()), Events: unix.POLLIN}}
		if _, err := unix.Poll(end, 0); err != nil || end[0].Revents&unix.POLLHUP == 0 {
			t.Errorf("%s: the keeper has what came with it still: %v", m.Op, err)
		}
		if r := k.says(t, &message{Op: opPing, Seq: m.Seq + 1}); r.Error != nil {
			t.Errorf("after %s: %+v", m.Op, r.Error)
		}
	}
}

// A keeper answers of as many attempts together as daemons of today ask for, with null of
// those that do not run.
func TestAKeeperAnswersOfManyTogether(t *testing.T) {
	k := conversation(t)
	r := k.says(t, &message{Op: opStats, Seq: 1, IDs: slices.Repeat([]string{"a.0/1"}, keptAtOnce)})
	if r.Error != nil || len(r.AllStats) != keptAtOnce || slices.ContainsFunc(r.AllStats, func(st *api.TaskStats) bool { return st != nil }) {
		t.Errorf("%+v", r)
	}
}

// What many attempts use is asked for in as few questions as keepers take, of each attempt
// in one; one that takes fewer, or does not know such questions, is asked of each.
func TestManyAttemptsAreAskedForTogether(t *testing.T) {
	const all = 70
	index := func(id string) (i int) { _, _ = fmt.Sscanf(id, "a.%d/1", &i); return i }
	stats := func(id string) *api.TaskStats {
		if id == "" || index(id)%10 == 7 {
			return nil
		}
		return &api.TaskStats{Processes: 1 + index(id)}
	}
	one := func(r, m *message) {
		if r.Stats = stats(m.ID); r.Stats == nil {
			r.Error = toWire(ErrUnknown)
		}
	}
	for name, c := range map[string]struct {
		answer func(r, m *message)
		many   []int // attempts in each question about many
		single int
	}{
		"a keeper of today": {func(r, m *message) {
			for _, id := range m.IDs {
				r.AllStats = append(r.AllStats, stats(id))
			}
		}, []int{keptAtOnce, keptAtOnce, all - 2*keptAtOnce}, 0},
		"one from before": {one, []int{keptAtOnce, keptAtOnce, all - 2*keptAtOnce}, all},
		"one that takes fewer": {func(r, m *message) {
			if len(m.IDs) > 0 {
				r.Error = toWire(errors.New("too many"))
				return
			}
			one(r, m)
		}, []int{keptAtOnce, keptAtOnce, all - 2*keptAtOnce}, all},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			asked := make(chan int, 3*all) // 0 is of one attempt
			answering(t, dir, func(m *message) *message {
				r := &message{Op: opAnswer, Seq: m.Seq}
				asked <- len(m.IDs)
				if len(m.IDs) == 0 {
					one(r, m)
				} else {
					c.answer(r, m)
				}
				return r
			})
			client := NewClient(ClientConfig{Dir: dir, Log: slog.New(slog.DiscardHandler)})
			defer client.Close()
			var ids []string
			for i := range all {
				ids = append(ids, fmt.Sprintf("a.%d/1", i))
				client.hold(ids[i], client.peers[0])
			}
			for i, got := range client.AllStats(t.Context(), ids, api.StatsAll) {
				if want := stats(ids[i]); (got == nil) != (want == nil) || got != nil && got.Processes != want.Processes {
					t.Errorf("%s: %+v", ids[i], got)
				}
			}
			var many []int
			single := 0
			for range len(asked) {
				if n := <-asked; n > 0 {
					many = append(many, n)
				} else {
					single++
				}
			}
			if !slices.Equal(many, c.many) || single != c.single {
				t.Errorf("asked for %v together, want %v, and for %d alone, want %d", many, c.many, single, c.single)
			}
		})
	}
}

// answering is a keeper that answers one daemon as it is told.
func answering(t *testing.T, dir string, answer func(*message) *message) {
	t.Helper()
	l := listening(t, dir)
	over := make(chan struct{})
	go func() {
		defer close(over)
		sock, err := l.AcceptUnix()
		if err != nil {
			return // the test ended before it
		}
		defer sock.Close()
		c := newConn(sock)
		for err == nil {
			var m *message
			if m, err = c.receive(); err != nil {
				return
			}
			r := &message{Op: opHello, Hello: &hello{Version: version, MinVersion: minVersion, Features: features(), Generation: generation}}
			if m.Op != opHello {
				r = answer(m)
			}
			err = c.sendFiles(r, nil)
		}
	}()
	t.Cleanup(func() { l.Close(); <-over }) // who asked has left
}
