package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/budget"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// echo prints what it reads, until its end.
func echo(_ context.Context, _ Command, stdio IO) Exit {
	b, _ := io.ReadAll(stdio.Stdin)                // what came says enough
	_, _ = stdio.Stdout.Write(b)                   // the test reads it
	_, _ = stdio.Stderr.Write([]byte("that is e")) // likewise
	return Exit{Code: 3}
}

// What is typed to a session comes to its command however the records are cut into pieces,
// what that prints is its answer, and how it ended is told until it is removed.
func TestASession(t *testing.T) {
	for _, f := range []wire.Format{wire.JSON, wire.Protobuf} {
		t.Run(f.MediaType(), func(t *testing.T) {
			w := newWorld(t, auth.Anybody)
			w.token = w.newToken("admin")
			w.host.run = echo
			res := w.session(t.Context(), "s1", f, false)
			body := typing(t, f, beside("s1"), types("hello "), types("world"), types(""))
			if res := w.attach(f, iotest.OneByteReader(bytes.NewReader(body))); res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "" {
				t.Fatalf("%s: %s", res.Status, w.text(res))
			}
			if got := w.printed(res, f); got != [2]string{"hello world", "that is e"} {
				t.Errorf("%q", got)
			}
			wait := &v1.AgentCall{Type: new(v1.AgentCallTypeWaitNestedContainer), WaitNestedContainer: &v1.AgentCallWaitNestedContainer{ContainerID: beside("s1")}}
			if got := w.call(wait, http.StatusOK); got != `{"type":"WAIT_NESTED_CONTAINER","wait_nested_container":{"exit_status":768}}` {
				t.Error(got)
			}
			w.call(&v1.AgentCall{Type: new(v1.AgentCallTypeRemoveNestedContainer), RemoveNestedContainer: &v1.AgentCallRemoveNestedContainer{ContainerID: beside("s1")}}, http.StatusOK)
			w.call(wait, http.StatusNotFound)
		})
	}
}

// A caller that vanishes takes its command with it.
func TestASessionEndsWithItsCaller(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	w.token = w.newToken("admin")
	why := make(chan error, 1)
	w.host.run = func(ctx context.Context, _ Command, _ IO) Exit {
		<-ctx.Done()
		why <- context.Cause(ctx)
		return Exit{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	res := w.session(ctx, "s1", wire.JSON, false)
	cancel()
	defer res.Body.Close()
	if err := <-why; !errors.Is(err, errLeft) {
		t.Error(err)
	}
}

// To a task's own terminal is typed, and its size said; whoever has none is told so.
func TestATasksTerminal(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	w.token = w.newToken("admin")
	id := &v1.ContainerID{Value: "mine.0-1"}
	res := w.attach(wire.Protobuf, bytes.NewReader(typing(t, wire.Protobuf, id, resizes(33, 99), types("ls\n"), types(""))))
	if b := w.text(res); res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", res.Status, b)
	}
	if got := w.host.typed.String(); got != "ls\n\x04" || len(w.host.sizes) != 1 || w.host.sizes[0] != (Size{33, 99}) {
		t.Errorf("%q %v", got, w.host.sizes)
	}
	res = w.attach(wire.Protobuf, bytes.NewReader(typing(t, wire.Protobuf, &v1.ContainerID{Value: "other.0-1"})))
	if b := w.text(res); res.StatusCode != http.StatusBadRequest || !strings.Contains(b, "no terminal") {
		t.Errorf("%s: %s", res.Status, b)
	}
	w.host.wrote["mine.0-1"] = [2]string{strings.Repeat("x", replayed) + "the end\r\n", ""}
	close(w.host.ends)
	body, err := wire.Marshal(wire.JSON, &v1.AgentCall{Type: new(v1.AgentCallTypeAttachContainerOutput), AttachContainerOutput: &v1.AgentCallAttachContainerOutput{ContainerID: id}})
	if err != nil {
		t.Fatal(err)
	}
	res = w.send(t.Context(), http.MethodPost, "/api/v1", bytes.NewReader(body), http.Header{"Content-Type": {"application/json"}})
	if got := w.printed(res, wire.JSON); len(got[0]) != replayed || !strings.HasSuffix(got[0], "the end\r\n") {
		t.Errorf("%d bytes", len(got[0]))
	}
}

// What a command printed is for who may run such commands, and for a minute after its end.
func TestOutputOfACommand(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	w.token = w.newToken("admin")
	w.host.run = echo
	res := w.session(t.Context(), "s1", wire.JSON, false)
	w.attach(wire.JSON, bytes.NewReader(typing(t, wire.JSON, beside("s1"), types("secret"), types("")))).Body.Close()
	w.printed(res, wire.JSON)
	if status, got := w.output(beside("s1")); status != http.StatusOK || !strings.Contains(got, "c2VjcmV0") {
		t.Error(status, got)
	}
	for rights, want := range map[string]int{"viewer@web": http.StatusForbidden, "deployer@ops": http.StatusNotFound, "deployer@web": http.StatusOK} {
		w.token = w.newToken(rights)
		if status, got := w.output(beside("s1")); status != want {
			t.Errorf("%s: %d %s", rights, status, got)
		}
	}
}

func TestATailIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpread()
		_, _ = s.writer(false).Write([]byte("secret")) // it has no error
		s.end()
		if all, more := s.listen(false).take(t.Context()); len(all) != 1 || more {
			t.Errorf("%d pieces at its end", len(all))
		}
		time.Sleep(tailKept + 1)
		synctest.Wait()
		if all, more := s.listen(false).take(t.Context()); len(all) != 0 || more {
			t.Errorf("%d pieces later", len(all))
		}
	})
}

// Input that is none is refused, and does not end the command.
func TestBadInput(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	w.token = w.newToken("admin")
	w.host.run = echo
	res := w.session(t.Context(), "s1", wire.JSON, false)
	whole := typing(t, wire.JSON, beside("s1"), types("x"))
	_, large, _ := bytes.Cut(typing(t, wire.JSON, beside("s1")), []byte("\n"))
	large = append(large, bytes.Repeat([]byte(" "), 300-len(large))...) // a message all the same
	for name, body := range map[string][]byte{
		"a record breaks off":            whole[:len(whole)-3],
		"a record that is not a message": append(bytes.Clone(whole), "3\n{x}"...),
		"a record without a length":      append(bytes.Clone(whole), "x\n"...),
		"a record is too large":          append(bytes.Clone(whole), "999999999\n"...),
		"it is attached again":           append(bytes.Clone(whole), typing(t, wire.JSON, beside("s1"))...),
		"no such stream":                 typing(t, wire.JSON, beside("s1"), &v1.ProcessIO{Type: new(v1.ProcessIOTypeData), Data: &v1.ProcessIOData{Type: new(v1.ProcessIODataTypeStdout)}}),
		"it has no terminal":             typing(t, wire.JSON, beside("s1"), resizes(1, 1)),
		"a terminal of no size":          typing(t, wire.JSON, beside("s1"), resizes(0, 1)),
		"neither data nor control":       typing(t, wire.JSON, beside("s1"), &v1.ProcessIO{}),
		"nothing at all":                 nil,
		"a first record is too large":    append([]byte(strconv.Itoa(maxFirst+300)+"\n"+strings.Repeat(" ", maxFirst)), large...),
	} {
		if res := w.attach(wire.JSON, bytes.NewReader(body)); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s: %s", name, res.Status, w.text(res))
		} else if text := w.text(res); text == "" || strings.Contains(name, "too large") != strings.Contains(text, "larger than") {
			t.Errorf("%s: %q is said of it", name, text)
		}
	}
	n := w.server.nested[keyOf(beside("s1"))]
	w.server.mu.Lock()
	n.typing = true
	w.server.mu.Unlock()
	if res := w.attach(wire.JSON, bytes.NewReader(whole)); res.StatusCode != http.StatusConflict {
		t.Errorf("two that type: %s", res.Status)
	}
	if n.over() {
		t.Error("the command has ended")
	}
	n.stdin.end()
	w.printed(res, wire.JSON)
}

// As many are attached, and run beside tasks, as may be.
func TestAttachesAreBounded(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	w.token = w.newToken("admin")
	refused := func(when string) {
		t.Helper()
		if res := w.session(t.Context(), "s1", wire.JSON, false); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: a session: %s", when, res.Status)
		}
		if res := w.attach(wire.JSON, bytes.NewReader(typing(t, wire.JSON, &v1.ContainerID{Value: "mine.0-1"}))); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: input: %s", when, res.Status)
		}
	}
	w.server.attached = w.server.shared("attachments", 2, 1)
	one := budget.Who{Class: budget.User, Name: "another"}
	if err := w.server.attached.Take(one, 1); err != nil {
		t.Fatal(err)
	}
	if res := w.attach(wire.JSON, bytes.NewReader(typing(t, wire.JSON, &v1.ContainerID{Value: "mine.0-1"}))); res.StatusCode != http.StatusOK {
		t.Errorf("while another holds its part: %s", res.Status)
	}
	if err := w.server.attached.Take(budget.Who{Class: budget.User, Name: "a third"}, 1); err != nil {
		t.Fatal(err)
	}
	refused("there are too many")
	w.server.attached = w.server.shared("attachments", 2, 0)
	refused("it has its part")
	w.server.attached = w.server.shared("attachments", maxAttached, maxEach)
	w.server.reading = w.server.shared("reads", 0, 0)
	w.get("/files/read?offset=0&path="+latest+"/stdout", http.StatusServiceUnavailable)
	w.get("/files/download?path="+latest+"/stdout", http.StatusServiceUnavailable)
	w.server.commands = w.server.shared("commands", maxNested, 0)
	w.call(&v1.AgentCall{Type: new(v1.AgentCallTypeLaunchNestedContainer), LaunchNestedContainer: &v1.AgentCallLaunchNestedContainer{ContainerID: beside("x"), Command: shell("x")}}, http.StatusServiceUnavailable)
	w.server.commands = w.server.shared("commands", maxNested, maxEach)
	w.host.run = func(ctx context.Context, _ Command, stdio IO) Exit {
		select {
		case sig := <-stdio.Signals:
			return Exit{Signal: sig}
		case <-ctx.Done():
			return Exit{}
		}
	}
	launch := func(id string) *v1.AgentCall {
		return &v1.AgentCall{Type: new(v1.AgentCallTypeLaunchNestedContainer), LaunchNestedContainer: &v1.AgentCallLaunchNestedContainer{ContainerID: beside(id), Command: shell("x")}}
	}
	for i := range maxOfTask {
		w.call(launch(string(rune('A'+i/26))+string(rune('A'+i%26))), http.StatusOK)
	}
	w.call(launch("AA"), http.StatusAccepted) // it is there already
	w.call(launch("more"), http.StatusServiceUnavailable)
	kill := &v1.AgentCall{Type: new(v1.AgentCallTypeKillNestedContainer), KillNestedContainer: &v1.AgentCallKillNestedContainer{ContainerID: beside("AA")}}
	w.call(&v1.AgentCall{Type: new(v1.AgentCallTypeRemoveNestedContainer), RemoveNestedContainer: &v1.AgentCallRemoveNestedContainer{ContainerID: beside("AA")}}, http.StatusConflict)
	w.call(kill, http.StatusOK)
	got := w.call(&v1.AgentCall{Type: new(v1.AgentCallTypeWaitContainer), WaitContainer: &v1.AgentCallWaitContainer{ContainerID: beside("AA")}}, http.StatusOK)
	if got != `{"type":"WAIT_CONTAINER","wait_container":{"exit_status":9}}` {
		t.Error(got)
	}
	kill.KillNestedContainer.Signal, kill.KillNestedContainer.ContainerID = new(int32(19)), beside("AB")
	w.call(kill, http.StatusBadRequest)
	w.call(launch("more"), http.StatusOK)
}

// Who does not read is left behind; a command waits for whose session it is alone.
func TestWhoDoesNotReadIsLeftBehind(t *testing.T) {
	s := newSpread()
	slow := s.listen(false)
	w := s.writer(false)
	for range maxBehind/maxPiece + 1 {
		if _, err := w.Write(make([]byte, maxPiece)); err != nil {
			t.Fatal(err)
		}
	}
	if all, more := slow.take(t.Context()); len(all) != 0 || more {
		t.Errorf("%d pieces, more: %v", len(all), more)
	}
	owner := s.listen(true)
	if all, _ := owner.take(t.Context()); len(all) == 0 || len(all)*maxPiece > maxTail {
		t.Errorf("%d pieces of what was printed before", len(all))
	}
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		_, _ = w.Write(make([]byte, 2*maxBehind)) // it has no error
	}()
	for read := 0; read < 2*maxBehind; {
		all, _ := owner.take(t.Context())
		for _, c := range all {
			read += len(c.data)
		}
	}
	<-wrote
	go func() { _, _ = w.Write(make([]byte, 3*maxBehind)); s.end() }() // it has no error
	owner.leave()                                                      // or it would wait for ever
	for more := true; more; {
		_, more = slow.take(t.Context())
	}
}

// What waits is bounded by what it takes in memory, however small the pieces are.
func TestSmallPieces(t *testing.T) {
	s := newSpread()
	e := s.listen(false)
	for range 20_000 {
		_, _ = s.writer(false).Write([]byte("x")) // it has no error
	}
	all, _ := e.take(t.Context())
	if len(all) == 0 || len(all) > 20_000/maxJoined+1 {
		t.Errorf("%d chunks", len(all))
	}
	for i := 0; !e.lost; i++ { // pieces that cannot be put together
		if i > maxBehind/perChunk {
			t.Fatal("it is never left behind")
		}
		_, _ = s.writer(i%2 == 0).Write([]byte("y")) // likewise
	}
	if n := len(s.tail.all); n > maxTail/perChunk {
		t.Errorf("%d chunks are kept", n)
	}
}

// What one reader is handed is not changed by what is printed later, nor is another's.
func TestPiecesAreNotShared(t *testing.T) {
	s := newSpread()
	w := s.writer(false)
	a := s.listen(false)
	_, _ = w.Write([]byte("one,")) // it has no error
	b := s.listen(false)
	first, _ := a.take(t.Context())
	_, _ = w.Write([]byte("two,"))
	c := s.listen(false)
	_, _ = w.Write([]byte("three"))
	for name, want := range map[string]string{"a": "two,three", "b": "one,two,three", "c": "one,two,three"} {
		all, _ := map[string]*ear{"a": a, "b": b, "c": c}[name].take(t.Context())
		var got string
		for _, k := range all {
			got += string(k.data)
		}
		if got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if len(first) != 1 || string(first[0].data) != "one," {
		t.Errorf("%d chunks: %q", len(first), first[0].data)
	}
}

// Both streams of a command that waits for its reader continue once that has read.
func TestBothStreamsContinue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpread()
		e := s.listen(true)
		var both sync.WaitGroup
		both.Go(func() { _, _ = s.writer(false).Write(make([]byte, maxBehind+maxPiece)) }) // it has no error
		synctest.Wait()
		both.Go(func() { _, _ = s.writer(true).Write([]byte("x")) }) // likewise
		synctest.Wait()
		_, _ = e.take(t.Context()) // that there is more says the end
		both.Wait()
	})
}

// A stream that breaks off does not look like one that has ended.
func TestACutStream(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	w.token = w.newToken("admin")
	begun, end := make(chan struct{}), make(chan struct{})
	w.host.run = func(_ context.Context, _ Command, stdio IO) Exit {
		close(begun)
		<-end
		return Exit{}
	}
	res := w.session(t.Context(), "s1", wire.JSON, false)
	defer res.Body.Close()
	<-begun
	n := w.server.nested[keyOf(beside("s1"))]
	n.out.mu.Lock()
	for e := range n.out.ears {
		e.lost = true
		poke(e.more)
	}
	n.out.mu.Unlock()
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("it ends as if all was well: %q", b)
	}
	close(end)
	w.host.failing = errors.New("the disk is broken")
	m, err := wire.Marshal(wire.JSON, &v1.AgentCall{Type: new(v1.AgentCallTypeAttachContainerOutput), AttachContainerOutput: &v1.AgentCallAttachContainerOutput{ContainerID: &v1.ContainerID{Value: "mine.0-1"}}})
	if err != nil {
		t.Fatal(err)
	}
	res = w.send(t.Context(), http.MethodPost, "/api/v1", bytes.NewReader(m), http.Header{"Content-Type": {"application/json"}})
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("it ends as if all was well: %q", b)
	}
}

// A later record may be large, and what of it is not typed is not looked at.
func TestLaterRecords(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	w.token = w.newToken("admin")
	w.host.run = echo
	for _, f := range []wire.Format{wire.JSON, wire.Protobuf} {
		id := "large" + strconv.Itoa(len(f.MediaType()))
		res := w.session(t.Context(), id, f, false)
		text := strings.Repeat("x", 4*maxFirst)
		w.attach(f, bytes.NewReader(typing(t, f, beside(id), types(text), types("")))).Body.Close()
		if got := w.printed(res, f); got[0] != text {
			t.Errorf("%d bytes", len(got[0]))
		}
	}
	var m typed
	b, err := wire.Marshal(wire.Protobuf, &v1.AgentCall{Type: new(v1.AgentCallTypeAttachContainerInput), AttachContainerInput: &v1.AgentCallAttachContainerInput{Type: new(v1.AgentCallAttachContainerInputTypeProcessIO), ProcessIO: types("x")}})
	if err == nil {
		err = decode(wire.Protobuf, b, &m)
	}
	if err != nil || string(m.AttachContainerInput.ProcessIO.Data.Data) != "x" {
		t.Errorf("%+v %v", m, err)
	}
}

// Who types to a command that reads nothing waits ten minutes, or until it leaves.
func TestNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &nested{stdin: newFeed()}
		ctx, cancel := context.WithCancelCause(t.Context())
		begun := time.Now()
		if _, err := (patient{keyboard{n, ctx}, func() { cancel(errUnread) }}).Write([]byte("x")); !errors.Is(err, errUnread) || time.Since(begun) != inputPatience {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		left, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		if _, err := (keyboard{n, left}).Write([]byte("x")); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		time.AfterFunc(time.Second, func() { _ = n.stdin.Close() }) // it has no error
		if _, err := (keyboard{n, t.Context()}).Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
	})
}

// How a command ends that is killed is how it ended; of one that does not tell, nobody says
// that it was killed.
func TestKilledMeansEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		n := &nested{signals: make(chan syscall.Signal, 4), cancel: cancel}
		for range cap(n.signals) {
			n.signals <- syscall.SIGHUP
		}
		n.kill()
		last := syscall.Signal(0)
		for len(n.signals) > 0 {
			last = <-n.signals
		}
		if last != syscall.SIGKILL || ctx.Err() != nil {
			t.Errorf("%v %v", last, ctx.Err())
		}
		time.Sleep(killPatience + 1)
		synctest.Wait()
		if !errors.Is(context.Cause(ctx), errSurvived) {
			t.Error(context.Cause(ctx))
		}
	})
}
