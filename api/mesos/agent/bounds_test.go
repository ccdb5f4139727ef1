package agent

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// many are updates of a task that an executor kept, each another.
func many(task string, from, n int) (out []*v1.TaskStatus) {
	for i := range n {
		s := status("e", task, v1.TaskStateRunning, 0)
		binary.BigEndian.PutUint32(s.UUID, uint32(from+i))
		out = append(out, s)
	}
	return out
}

// What an executor kept is bounded as what it says at other times, but for how its tasks
// ended, however often it subscribes.
func TestFloodOfKeptUpdates(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	w.hosted("1", "e", nil)
	w.takes(false)
	end := status("e", "1", v1.TaskStateFinished, 1)
	var c *client
	for i := range 3 {
		c = w.subscribe(wire.Protobuf, "e", []string{"1"}, append(many("1", i*20_000, 20_000), end)...)
	}
	w.Desk.mu.Lock()
	kept, bytes := w.hosts["j.e"].tasks["j.t1"].waiting, w.waits
	w.Desk.mu.Unlock()
	if len(kept) != maxWaiting+1 || !kept[maxWaiting].status.State.Final() || bytes < len(kept)*1024 {
		t.Errorf("%d updates of %d bytes wait, the last of %s", len(kept), bytes, kept[len(kept)-1].status.State)
	}
	w.takes(true)
	for range maxWaiting + 1 {
		c.want(v1.ExecutorEventTypeAcknowledged)
	}
	w.locked(func() {
		if left := w.waits + w.hosts["j.e"].waits; left != 0 {
			t.Errorf("%d bytes wait once all is taken", left)
		}
	})
}

// Of more tasks than an executor has nothing is taken but what there is an answer to.
func TestFloodOfUpdatesOfNothing(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	var all []*v1.TaskStatus
	for i := range 2 * maxKept {
		all = append(all, status("e", fmt.Sprint(i), v1.TaskStateFinished, 1))
	}
	c := w.subscribe(wire.Protobuf, "e", nil, all...)
	for range maxKept {
		c.want(v1.ExecutorEventTypeAcknowledged)
	}
	if err := w.Send("f", "e", nil); err != nil {
		t.Fatalf("its subscription ended: %v", err)
	}
	c.want(v1.ExecutorEventTypeMessage)
}

// What waits is bounded over all tasks, too: how a task ended has room beside the rest.
func TestUpdatesOfAllTasksAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	w.takes(false)
	row := w.hosted("1", "e", nil)
	w.Desk.mu.Lock()
	defer w.Desk.mu.Unlock()
	h := w.hosts["j.e"]
	said := func(s *v1.TaskStatus) bool {
		u, err := w.updateOf(h, s)
		if err != nil {
			t.Fatal(err)
		}
		return w.room(h, h.tasks[row.ID], &u)
	}
	for _, full := range []struct{ host, all int }{{maxWaits, maxWaits}, {0, allWaits}} {
		h.waits, w.waits = full.host, full.all
		if said(status("e", "1", v1.TaskStateRunning, 1)) || !said(status("e", "1", v1.TaskStateFinished, 2)) {
			t.Errorf("%+v: the bound is another", full)
		}
	}
	if w.waits = allWithEnds; said(status("e", "1", v1.TaskStateFinished, 2)) {
		t.Error("how tasks ended is not bounded")
	}
}

// Who is not the user of an executor is not it, and who showed its token has to again.
func TestOthersAreNotTheExecutor(t *testing.T) {
	w := newWorld(t, nil)
	row := w.executor("e", false)
	w.hosted("1", "e", nil)
	subscribe := of(`"type":"SUBSCRIBE","subscribe":{}`)
	message := of(`"type":"MESSAGE","message":{"data":"aGk="}`)
	token := with(jsonHeader, "Authorization", "Bearer "+w.Env(row, 0, "/s")["MESOS_EXECUTOR_AUTHENTICATION_TOKEN"])
	for _, c := range []struct {
		who    string
		uid    uint32
		shows  bool
		body   string
		status int
	}{
		{"another", 1002, false, subscribe, 401}, {"its user", executorUID, false, subscribe, 200}, {"another", 1002, false, message, 401}, {"root", 0, false, message, 202},
		{"another that has its token", 1002, true, message, 202}, {"its user, from then on", executorUID, false, message, 401}, {"root, from then on", 0, false, subscribe, 401},
		{"who has its token", executorUID, true, subscribe, 200},
	} {
		w.calls(c.uid)
		h := jsonHeader
		if c.shows {
			h = token
		}
		if res := w.send("POST", c.body, h); res.StatusCode != c.status || c.status == 401 && res.Header.Get("Www-Authenticate") == "" {
			t.Errorf("%s: %s, want %d", c.who, res.Status, c.status)
		}
	}
}

// A task that is to end does, however its executor behaves: one that lost its stream, one
// that subscribes again and again, and one that ignores what its framework wants, too.
func TestTasksEndWhateverTheirExecutorDoes(t *testing.T) {
	for name, c := range map[string]struct {
		reason        api.Reason
		after         time.Duration
		before, while func(w *world)
	}{
		"it lost its stream":  {api.ReasonPreempted, 3*time.Second + killMore, func(w *world) { w.locked(w.hosts["j.e"].leave) }, func(*world) {}},
		"it subscribes anew":  {api.ReasonPreempted, 3*time.Second + killMore, func(*world) {}, func(w *world) { w.subscribe(wire.JSON, "e", []string{"1"}).wantKill("1") }},
		"its framework waits": {api.ReasonStopped, 3*time.Second + killOwn, func(*world) {}, func(*world) {}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			e := w.executor("e", false)
			row := w.hosted("1", "e", nil)
			w.subscribe(wire.JSON, "e", nil).wantLaunch("1")
			c.before(w)
			w.stop(row, c.reason)
			w.pass(c.after - time.Second)
			c.while(w)
			w.overdue()
			w.mu.Lock()
			if len(w.ended) > 0 {
				t.Errorf("%v is ended at once", w.ended)
			}
			w.mu.Unlock()
			w.pass(time.Second)
			w.await(func() bool { return len(w.ended) == 1 && w.ended[0] == e.ID+" killed "+string(c.reason) })
		})
	}
}

// A KILL with less time than the one before reaches the executor.
func TestSecondKill(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	row := w.hosted("1", "e", nil)
	c := w.subscribe(wire.JSON, "e", nil)
	c.wantLaunch("1")
	w.stop(row, api.ReasonStopped)
	c.wantKill("1")
	to := *row
	to.Desired, to.Reason = api.DesiredStop, api.ReasonStopped
	w.put(&to, 2*time.Second)
	w.put(&to, 2*time.Second)
	if k := c.want(v1.ExecutorEventTypeKill).Kill; k.KillPolicy.GracePeriod.Nanoseconds != 2e9 {
		t.Errorf("%+v", k)
	}
	if err := w.Send("f", "e", nil); err != nil {
		t.Fatal(err)
	}
	c.want(v1.ExecutorEventTypeMessage) // and no third
}

// A task that the cluster has given up is killed by the executor that speaks of it as one
// that runs, but not one of which it says, too, that it ended.
func TestStraysAreKilled(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	ended := []*v1.TaskStatus{status("e", "ended", v1.TaskStateRunning, 1), status("e", "ended", v1.TaskStateFinished, 2)}
	c := w.subscribe(wire.JSON, "e", nil, ended...)
	c.wantAck(ended[0])
	c.wantAck(ended[1])
	s := status("e", "runs", v1.TaskStateRunning, 3)
	c.update(s)
	c.wantAck(s)
	c.wantKill("runs")
}

// What the cluster took is not told it again when it was taken before what it took last.
func TestKeptUpdatesThatWereTaken(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	last := status("e", "1", v1.TaskStateRunning, 2)
	row := w.hosted("1", "e", func(t *api.Task) { t.State, t.Framework.Last = api.TaskRunning, last.UUID })
	sent := []*v1.TaskStatus{status("e", "1", v1.TaskStateRunning, 1), last, status("e", "1", v1.TaskStateRunning, 3)}
	c := w.subscribe(wire.JSON, "e", []string{"1"}, sent...)
	for _, s := range sent {
		c.wantAck(s)
	}
	w.await(func() bool { return w.said(row.ID) == "running" })
	if got := w.reports[0].Update.ID[15]; got != 3 {
		t.Errorf("update %d is told", got)
	}
}

// Who does not read loses messages, and nothing else; others lose nothing by it.
func TestMessagesAreLostFirst(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	h := w.deaf("e")
	sent := 0
	for ; w.Send("f", "e", make([]byte, 100<<10)) == nil; sent++ {
	}
	if sent < 10 || sent > maxMessageBytes/(100<<10) {
		t.Errorf("%d messages wait", sent)
	}
	w.hosted("1", "e", nil)
	if count, _ := h.out.Waiting(); count != sent+1 {
		t.Errorf("%d events wait, and its task is to be one", count)
	}
	w.deaf("e")
	w.queued.Add(allMessageBytes)
	if api.ErrorCode(w.Send("f", "e", []byte("hi"))) != api.CodeUnavailable {
		t.Error("messages take the room of all")
	}
	w.queued.Add(held.All)
	w.hosted("2", "e", nil)
	if count, _ := h.out.Waiting(); count != 1 {
		t.Error("who holds nothing is ended for what others hold")
	}
}

// An executor is handed as much as it reads, and all of it in the end; what it was not
// handed yet can be taken back.
func TestTasksWaitForTheirReader(t *testing.T) {
	const tasks = 3 * maxHanded
	w := newWorld(t, nil)
	w.executor("e", false)
	h := w.deaf("e")
	large := make([]byte, 512<<10)
	for i := range tasks {
		info, err := wire.Marshal(wire.Protobuf, &v1.TaskInfo{Name: "n", TaskID: &v1.TaskID{Value: fmt.Sprint(i)}, AgentID: &v1.AgentID{Value: "n1"}, Data: large})
		if err != nil {
			t.Fatal(err)
		}
		w.hosted(fmt.Sprint(i), "e", func(r *api.Task) { r.Framework.Info = info })
	}
	count, bytes := h.out.Waiting()
	if count == 0 || count > maxHanded || bytes > maxHandedBytes+len(large)+1024 {
		t.Fatalf("%d events of %d bytes wait", count, bytes)
	}
	back := w.hosted("last", "e", nil)
	w.stop(back, api.ReasonStopped)
	if w.await(func() bool { return w.said(back.ID) != "" }); w.said(back.ID) != "killed never_delivered" {
		t.Errorf("a task that nobody was handed is %q", w.said(back.ID))
	}
	h.out.Take()
	c := w.subscribe(wire.Protobuf, "e", nil)
	for range tasks - count {
		c.want(v1.ExecutorEventTypeLaunch)
	}
	w.await(func() bool {
		w.Desk.mu.Lock()
		defer w.Desk.mu.Unlock()
		return !h.behind
	})
}

// A note that a full disk cut short costs no other its meaning.
func TestNotesThatWereCut(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	h := w.deaf("e")
	w.Desk.mu.Lock()
	defer w.Desk.mu.Unlock()
	if err := w.notes.add(h, "j.one"); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(w.notes.path(h), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("\nj.tw"); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	if err := w.notes.add(h, "j.three"); err != nil {
		t.Fatal(err)
	}
	h.noted, h.lines = nil, 0
	if h.read(&w.notes); !h.noted["j.one"] || !h.noted["j.three"] || h.noted["j.two"] {
		t.Errorf("noted are %v", h.noted)
	}
}

// What an executor says at length is told in short, and passed on whole.
func TestLongMessage(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	w.hosted("1", "e", nil)
	c := w.subscribe(wire.JSON, "e", nil)
	c.wantLaunch("1")
	s := status("e", "1", v1.TaskStateRunning, 1)
	s.Message = new("x" + strings.Repeat("é", 10_000))
	c.update(s)
	w.await(func() bool { return len(w.reports) == 1 })
	got := w.reports[0]
	var st v1.TaskStatus
	if err := wire.Unmarshal(wire.Protobuf, got.Update.Status, &st); err != nil || *st.Message != *s.Message {
		t.Errorf("it is not passed on as it was said: %v", err)
	}
	if len(got.Message) > maxSaid+3 || !utf8.ValidString(got.Message) {
		t.Errorf("%d bytes: %q", len(got.Message), got.Message)
	}
}

// The note of what an executor was handed does not grow with its age.
func TestNotesAreShortened(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	h := w.deaf("e")
	kept := w.hosted("kept", "e", nil)
	for i := range 2 * slackLines {
		w.hosted(fmt.Sprint(i), "e", nil)
		w.tasks = slices.DeleteFunc(w.tasks, func(a api.Assignment) bool { return a.Task.Framework.ID == fmt.Sprint(i-1) })
		w.deaf("e")
	}
	b, err := os.ReadFile(w.notes.path(h))
	if n := len(strings.Fields(string(b))); err != nil || n > slackLines+10 || !strings.Contains(string(b), kept.ID+"\n") {
		t.Errorf("%d lines: %v", n, err)
	}
}

// What an executor says of a task that changes nothing costs the cluster no more than a
// write a second; what changes something waits for nothing.
func TestUpdatesArePaced(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	w.hosted("1", "e", nil)
	w.hosted("2", "e", nil)
	c := w.subscribe(wire.JSON, "e", nil)
	c.want(v1.ExecutorEventTypeLaunch)
	c.want(v1.ExecutorEventTypeLaunch)
	all := many("1", 0, tellBurst+2)
	for _, s := range all[:tellBurst] {
		c.update(s)
		c.wantAck(s)
	}
	c.update(all[tellBurst])
	c.update(all[tellBurst+1])
	other := status("e", "2", v1.TaskStateRunning, 1)
	c.update(other)
	c.wantAck(other)
	if soon := w.overdue(); soon > tellEvery {
		t.Errorf("what waits is looked at in %s", soon)
	}
	w.pass(tellEvery)
	c.wantAck(all[tellBurst])
	w.pass(tellEvery)
	c.wantAck(all[tellBurst+1])
}
