package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

func TestTasks(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	for job, team := range map[string]string{"sums": "red", "totals": "blue"} {
		spec := batchSpec(job)
		spec.Labels = map[string]string{"team": team, "tier": "2"}
		do(t, n.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: spec})
	}
	runTask(t, n.store, "sums", 0)
	do(t, n.store, &fsm.TaskCreate{Meta: fsm.Meta{At: testTime}, Job: "totals", First: 0, Count: 1})
	for query, want := range map[string]string{
		"": "sums.0 totals.0", "?job=sums": "sums.0", "?node=oak-name": "sums.0", "?state=pending": "totals.0", "?state=running": "sums.0",
		"?state=TASK_RUNNING": "sums.0", "?state=finished": "", "?state=frozen": "", "?job=totals&node=oak": "",
		"?label=team=red": "sums.0", "?label=team!=red": "totals.0", "?label=tier>=2&label=team=blue": "totals.0", "?label=none=1": "", "?label=team=blue&node=oak-name": "",
	} {
		var ids []string
		for _, task := range into[items[api.Task]](t, n.send(request{method: "GET", path: "/v1/tasks" + query, token: token})).Items {
			ids = append(ids, task.ID)
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	r := n.send(request{method: "GET", path: "/v1/jobs?label=team=blue&label=tier=2", token: token})
	if jobs := into[items[api.Job]](t, r).Items; len(jobs) != 1 || jobs[0].ID != "totals" || jobs[0].Spec.Labels["team"] != "blue" {
		t.Errorf("%s", r.body)
	}
	for path, status := range map[string]int{"/v1/tasks?state=happy": 400, "/v1/tasks?label=team": 400, "/v1/jobs?label=tier<x": 400, "/v1/jobs?all=1&all=1": 400, "/v1/tasks?job=none": 404, "/v1/tasks?node=none": 404, "/v1/tasks/sums.9": 404, "/v1/tasks/sums": 404, "/v1/tasks/sums.0/why": 200} {
		n.send(request{method: "GET", path: path, token: token}).want(t, status)
	}
	for _, release := range []bool{false, true} { // of a job on hold nothing that was ended would start again
		do(t, n.store, &fsm.JobHold{Meta: fsm.Meta{At: testTime}, ID: "sums", Release: release})
		if release {
			break
		}
		e := n.send(request{method: "POST", path: "/v1/tasks/sums.0/stop", body: `{"move":true}`, token: token}).want(t, 409)
		if e == nil || !strings.Contains(e.Message, "on hold") || !strings.Contains(e.Message, "mesita job release sums") || n.store.View().Task("sums.0").Desired != api.DesiredRun {
			t.Errorf("the restart of a task of a job on hold is refused with %+v", e)
		}
	}
	for body, status := range map[string]int{`{"move":true,"attempt":2}`: 409, `{"attempt":2}`: 409, `{"attempt":-1}`: 400} {
		e := n.send(request{method: "POST", path: "/v1/tasks/sums.0/stop", body: body, token: token}).want(t, status)
		if e == nil || e.Field != "attempt" || n.store.View().Task("sums.0").Desired != api.DesiredRun {
			t.Errorf("%s: %+v", body, e)
		}
	}
	r = n.send(request{method: "POST", path: "/v1/tasks/sums.0/stop", body: `{"move":true,"attempt":1}`, token: token})
	r.want(t, 200)
	if got := into[api.Task](t, r); got.Desired != api.DesiredMove {
		t.Errorf("%+v", got)
	}
	if e := n.send(request{method: "POST", path: "/v1/tasks/totals.0/stop", body: `{"move":true}`, token: token}).want(t, 409); e == nil || !strings.Contains(e.Message, "mesita why totals.0") {
		t.Errorf("the restart of a task that waits is refused with %+v", e)
	}
	r = n.send(request{method: "GET", path: "/v1/partitions", token: token})
	if p := into[items[api.PartitionStatus]](t, r).Items; len(p) != 1 || p[0].Path != "default" || p[0].Running != 1 || p[0].Pending != 1 || p[0].Allocated.CPUs != 100 {
		t.Errorf("%s", r.body)
	}
	gang := batchSpec("gang")
	gang.Gang = 2
	do(t, n.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: gang})
	for _, id := range []string{"totals.0", "totals.0", "gang.0", "gang.1"} { // again, and with its gang before: it is done
		r = n.send(request{method: "POST", path: "/v1/tasks/" + id + "/stop", token: token})
		if r.want(t, 200); into[api.Task](t, r).State != api.TaskKilled {
			t.Errorf("%s waited, and is not stopped: %s", id, r.body)
		}
	}
}

func TestPlaceOfAnAttempt(t *testing.T) {
	task := &api.Task{ID: "a.0", Attempt: 3, NodeID: "n3", Earlier: []api.Attempt{{Attempt: 1, NodeID: "n1"}, {Attempt: 2, NodeID: "n2"}}}
	pending := &api.Task{ID: "a.0", Attempt: 3, Earlier: task.Earlier}
	for _, c := range []struct {
		task    *api.Task
		attempt int
		node    string
		code    api.Code
	}{
		{task, 0, "n3", ""}, {task, -1, "n2", ""}, {task, 1, "n1", ""}, {task, 3, "n3", ""}, {task, 4, "", api.CodeNotFound},
		{pending, 0, "n2", ""}, {pending, -1, "n1", ""}, {pending, 3, "", api.CodeConflict},
		{&api.Task{ID: "a.0", Attempt: 1}, 0, "", api.CodeConflict}, {&api.Task{ID: "a.0", Attempt: 1, State: api.TaskKilled}, 0, "", api.CodeNotFound}, {&api.Task{ID: "a.0", Attempt: 1, NodeID: "n"}, -1, "", api.CodeNotFound},
	} {
		node, _, err := place(c.task, c.attempt)
		if node != c.node || api.ErrorCode(err) != c.code {
			t.Errorf("attempt %d of %+v: %q, %v", c.attempt, c.task, node, err)
		}
	}
}

// runningOn is a two-node cluster with the task sums.0 running on oak, which
// elm leads.
func runningOnOak(t *testing.T) (oak, elm *testNode) {
	w, oak, elm := twoNodes(t)
	do(t, oak.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: batchSpec("sums")})
	runTask(t, oak.store, "sums", 0)
	w.lead("elm")
	return oak, elm
}

func TestLogsComeFromTheNodeOfTheTask(t *testing.T) {
	oak, elm := runningOnOak(t)
	token := oak.token(api.RoleViewer)
	more := make(chan string)
	oak.logs = func(ctx context.Context, q LogQuery, emit func(*LogPiece) error) error {
		if q != (LogQuery{Task: "sums.0", Attempt: 1, Follow: true, Tail: 5, Stderr: true}) {
			t.Errorf("%+v", q)
		}
		send := func(text string) error {
			return errors.Join(emit(&LogPiece{Time: testTime, Stream: "stderr", Data: []byte(text)}), emit(nil))
		}
		if err := send("first \xff"); err != nil {
			return err
		}
		for {
			select {
			case text, ok := <-more:
				if !ok {
					return nil
				}
				if err := send(text); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	res, err := elm.http.Client().Do(elm.newRequest(elm.http, request{method: "GET", path: "/v1/tasks/sums.0/logs?follow=1&tail=5&stream=stderr", token: token}))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := json.NewDecoder(res.Body)
	for i, want := range []string{"first \uFFFD", "second", "third"} {
		if i > 0 {
			more <- want
		}
		var l api.LogLine
		if err := lines.Decode(&l); err != nil || l.Text != want || l.Task != "sums.0" || l.Attempt != 1 || !l.Time.Equal(testTime) {
			t.Fatalf("%+v, %v", l, err)
		}
	}
	close(more)
	var l api.LogLine
	if err := lines.Decode(&l); err != io.EOF {
		t.Errorf("after the end: %+v, %v", l, err)
	}
}

func TestLogsThatCannotBeHad(t *testing.T) {
	oak, elm := runningOnOak(t)
	token := oak.token(api.RoleViewer)
	oak.logs = func(context.Context, LogQuery, func(*LogPiece) error) error {
		return api.Errorf(api.CodeNotFound, "the log was removed")
	}
	if e := elm.send(request{method: "GET", path: "/v1/tasks/sums.0/logs", token: token}).want(t, 404); e.Message != "the log was removed" {
		t.Errorf("%+v", e)
	}
	for query, status := range map[string]int{"?tail=-1": 400, "?attempt=x": 400, "?attempt=-1": 404, "?stream=stdin": 400, "?attempt=7": 404} {
		elm.send(request{method: "GET", path: "/v1/tasks/sums.0/logs" + query, token: token}).want(t, status)
	}
	delete(oak.world.nodes, "oak")
	if e := elm.send(request{method: "GET", path: "/v1/tasks/sums.0/logs", token: token}).want(t, 503); e.Code != api.CodeUnavailable {
		t.Errorf("%+v", e)
	}
}

func frame(kind byte, p string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(p))), p...)
}

// upgrade sends an exec request on a raw connection, with a word about the attempt
// that is not the caller's to say.
func (n *testNode) upgrade(token, query string) (io.Writer, *bufio.Reader, *http.Response) {
	n.t.Helper()
	c := n.dial()
	fmt.Fprintf(c, "POST /v1/tasks/sums.0/exec%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: mesita-exec\r\nX-Mesita-Attempt: 7\r\n\r\n", query, token)
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return c, in, res
}

func TestExecThroughAllNodes(t *testing.T) {
	oak, elm := runningOnOak(t)
	token := oak.token(api.RoleOperator)
	oak.exec = func(ctx context.Context, r ExecRequest, start func() (ExecIO, error)) (int, error) {
		if r.Task != "sums.0" || r.Attempt != 1 || strings.Join(r.Command, " ") != "cat -n" || !r.TTY || r.Size != (Size{50, 120}) {
			t.Errorf("%+v", r)
		}
		io1, err := start()
		if err != nil {
			return 0, err
		}
		if s := <-io1.Resize; s != (Size{10, 20}) {
			t.Errorf("resized to %+v", s)
		}
		if s := <-io1.Signals; s != syscall.SIGTERM {
			t.Errorf("signal %v", s)
		}
		fmt.Fprint(io1.Stderr, "ready")
		b, err := io.ReadAll(io1.Stdin)
		io1.Stdout.Write(bytes.Repeat(b, 30000))
		return 42, err
	}
	out, in, res := elm.upgrade(token, "?tty=1&rows=50&cols=120&cmd=cat&cmd=-n")
	if res.StatusCode != 101 || res.Header.Get("Upgrade") != "mesita-exec" {
		t.Fatal(res.Status)
	}
	out.Write(frame(frameResize, "\x00\x0a\x00\x14"))
	out.Write(frame(frameSignal, "\x0f"))
	out.Write(frame(frameStdin, "hel"))
	out.Write(frame(frameStdin, "lo"))
	out.Write(frame(frameStdinEnd, ""))
	got := map[byte]string{}
	buf := make([]byte, maxFrame)
	for {
		kind, p, err := readFrame(in, buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got[kind] += string(p)
	}
	if got[frameStderr] != "ready" || got[frameStdout] != strings.Repeat("hello", 30000) || got[frameExit] != "\x00\x00\x00\x2a" {
		t.Errorf("stderr %q, %d bytes of stdout, exit %x", got[frameStderr], len(got[frameStdout]), got[frameExit])
	}
	until(t, "all streams end", func() bool { return oak.server.http.Streams()+elm.server.http.Streams() == 0 })
}

func TestExecEndsWithItsCaller(t *testing.T) {
	oak, elm := runningOnOak(t)
	token := oak.token(api.RoleOperator)
	ended := make(chan error, 1)
	oak.exec = func(ctx context.Context, _ ExecRequest, start func() (ExecIO, error)) (int, error) {
		if _, err := start(); err != nil {
			return 0, err
		}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return 0, ctx.Err()
	}
	out, _, res := elm.upgrade(token, "?cmd=sleep")
	if res.StatusCode != 101 {
		t.Fatal(res.Status)
	}
	out.(io.Closer).Close()
	if err := <-ended; err == nil {
		t.Error("no cause")
	}
	until(t, "all streams end", func() bool { return oak.server.http.Streams()+elm.server.http.Streams() == 0 })
}

// A command that reads nothing hides neither what its caller sends besides its
// input, nor that the caller is gone, from any node.
func TestExecThatReadsNothing(t *testing.T) {
	oak, elm := runningOnOak(t)
	token := oak.token(api.RoleOperator)
	ended, signals := make(chan error, 1), make(chan syscall.Signal, 1)
	oak.exec = func(ctx context.Context, _ ExecRequest, start func() (ExecIO, error)) (int, error) {
		io1, err := start()
		if err != nil {
			return 0, err
		}
		signals <- <-io1.Signals
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return 0, ctx.Err()
	}
	for name, n := range map[string]*testNode{"oak": oak, "elm": elm} {
		out, _, res := n.upgrade(token, "?cmd=sleep")
		window, err := strconv.Atoi(res.Header.Get("Mesita-Window"))
		if res.StatusCode != 101 || err != nil || window < 1 {
			t.Fatalf("%s: %s, window %d, %v", name, res.Status, window, err)
		}
		for left := window; left > 0; left -= min(left, maxFrame) {
			out.Write(frame(frameStdin, strings.Repeat("x", min(left, maxFrame))))
		}
		out.Write(frame(frameSignal, "\x02"))
		if s := <-signals; s != syscall.SIGINT {
			t.Errorf("%s: signal %v", name, s)
		}
		out.(io.Closer).Close()
		if err := <-ended; err == nil {
			t.Errorf("%s: no cause", name)
		}
	}
	until(t, "all streams end", func() bool { return oak.server.http.Streams()+elm.server.http.Streams() == 0 })
}

// All input arrives, however much more than the window it is, and the caller is
// told of the room as it is read.
func TestExecInputBeyondTheWindow(t *testing.T) {
	f := newInflow()
	r, w := io.Pipe()
	var told bytes.Buffer
	out := &frameConn{w: &told, deadline: func(time.Time) error { return nil }, failed: func(err error) { t.Error(err) }}
	pumped := make(chan struct{})
	go func() { defer close(pumped); f.pump(w, out) }()
	const all = 10 * stdinWindow
	go func() {
		for i := range all / 1024 {
			f.Write(bytes.Repeat([]byte{byte(i)}, 1024)) // it never fails
		}
		f.Close()
	}()
	b, err := io.ReadAll(r)
	if err != nil || len(b) != all {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	for i, c := range b {
		if c != byte(i/1024) {
			t.Fatalf("byte %d is %d", i, c)
		}
	}
	<-pumped
	granted := 0
	for buf := make([]byte, maxFrame); told.Len() > 0; {
		kind, p, err := readFrame(&told, buf)
		if err != nil || kind != frameWindow {
			t.Fatal(kind, err)
		}
		granted += int(binary.BigEndian.Uint32(p))
	}
	if granted > all || granted <= all-stdinWindow/4 {
		t.Errorf("%d bytes are granted of %d", granted, all)
	}
}

func TestExecThatCannotStart(t *testing.T) {
	oak, elm := runningOnOak(t)
	token := oak.token(api.RoleOperator)
	oak.exec = func(context.Context, ExecRequest, func() (ExecIO, error)) (int, error) {
		return 0, api.Errorf(api.CodeConflict, "the task has just ended")
	}
	if _, _, res := elm.upgrade(token, "?cmd=sh"); res.StatusCode != 409 {
		t.Error(res.Status)
	}
	if _, _, res := elm.upgrade(token, ""); res.StatusCode != 400 {
		t.Error(res.Status)
	}
	finishBatchTask(t, oak.store, "sums")
	if _, _, res := elm.upgrade(token, "?cmd=sh"); res.StatusCode != 409 {
		t.Error(res.Status)
	}
	elm.send(request{method: "POST", path: "/v1/tasks/sums.0/exec?cmd=sh", token: token}).want(t, 400)
}

// Why a task that runs is slow is told, wherever it runs and is asked for.
func TestWhySaysWhatHoldsUp(t *testing.T) {
	oak, elm := runningOnOak(t)
	for held, want := range map[time.Duration]string{0: "", 2 * time.Second: "was held up for 2s by its CPU limit of 0.5"} {
		oak.stats = []api.TaskStats{{Task: "other.0", Throttle: api.Throttle{Throttled: time.Hour}}, {Task: "sums.0", Attempt: 1, Throttle: api.Throttle{Throttled: held}, CPULimit: 500}}
		for _, n := range []*testNode{oak, elm} {
			r := n.send(request{method: "GET", path: "/v1/tasks/sums.0/why", token: oak.token(api.RoleViewer)})
			r.want(t, 200)
			if why := into[api.Why](t, r); strings.Join(why.Hints, "|") != want {
				t.Errorf("held up for %s: %q", held, why.Hints)
			}
		}
	}
}

func TestStats(t *testing.T) {
	oak, elm := runningOnOak(t)
	oak.stats = []api.TaskStats{{Task: "sums.0", Mem: 5}}
	elm.stats = []api.TaskStats{{Task: "other.0", Mem: 6}}
	addNode(t, oak.store, "fir") // has no server
	r := elm.send(request{method: "GET", path: "/v1/stats", token: oak.token(api.RoleViewer)})
	r.want(t, 200)
	var got struct {
		Items   []api.TaskStats
		Missing []struct{ Node, Reason string }
		Index   uint64
	}
	if err := json.Unmarshal(r.body, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Items) != 2 || got.Items[1].Mem != 5 || len(got.Missing) != 1 || got.Missing[0].Node != "fir-name" || got.Index == 0 {
		t.Errorf("%s", r.body)
	}
	r = elm.send(request{method: "GET", path: "/v1/stats?node=oak", token: oak.token(api.RoleViewer)})
	r.want(t, 200)
	got.Items, got.Missing = nil, nil
	if err := json.Unmarshal(r.body, &got); err != nil || len(got.Items) != 1 || got.Items[0].Task != "sums.0" || got.Items[0].Node != "oak-name" || len(got.Missing) != 0 {
		t.Errorf("%s, %v", r.body, err)
	}
	elm.send(request{method: "GET", path: "/v1/stats?node=none", token: oak.token(api.RoleViewer)}).want(t, 404)
	for preference, want := range map[string]api.StatsDetail{"detail=cpu": api.StatsCPU, "detail=use": api.StatsUse, "detail=later": api.StatsAll, "": api.StatsAll} {
		elm.send(request{method: "GET", path: "/v1/stats", token: oak.token(api.RoleViewer), header: http.Header{"Prefer": {preference}}}).want(t, 200)
		if oak.statsDetail != want || elm.statsDetail != want {
			t.Errorf("Prefer: %s: the nodes read %q and %q, want %q", preference, oak.statsDetail, elm.statsDetail, want)
		}
	}
}
