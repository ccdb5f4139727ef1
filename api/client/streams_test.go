package client

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
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// sse sends events first to last, and a sign of life.
func sse(w http.ResponseWriter, first, last uint64) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := first; i <= last; i++ {
		b, _ := json.Marshal(api.Event{Index: i, Kind: api.EventTaskState, Object: "web.0"})
		fmt.Fprintf(w, "id: %d\nevent: task.state\ndata: %s\n\n: still here\n\n", i, b)
	}
	w.(http.Flusher).Flush()
}

func TestEventsWithoutGapOrDouble(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		after, err := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64)
		if err != nil || r.Header.Get("Accept") != "text/event-stream" || r.URL.Query().Get("for") != "web" {
			t.Errorf("asked %s with %v", r.URL, r.Header)
		}
		switch tries++; tries {
		case 1:
			sse(w, after+1, after+3)
			fmt.Fprint(w, "id: 14\nevent: task.state\ndata: {\"index\":14}\n") // cut in the middle
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case 2:
			refuse(w, api.Errorf(api.CodeUnavailable, "no leader"))
		case 3:
			sse(w, after+1, after+2)
			fmt.Fprint(w, "event: error\ndata: {\"error\":{\"code\":\"unavailable\",\"message\":\"lost the lead\"}}\n\n")
		default:
			sse(w, after+1, after+2)
			<-r.Context().Done()
		}
	})}})
	var got []uint64
	err := c.Events(ctx, EventQuery{After: 10, For: "web"}, func(e api.Event) error {
		if got = append(got, e.Index); e.Index == 17 {
			cancel()
		}
		return nil
	})
	if err != nil || !slices.Equal(got, []uint64{11, 12, 13, 14, 15, 16, 17}) {
		t.Fatalf("got %v (%v), want 11 to 17, each once", got, err)
	}
}

func TestEventsEndWithAReason(t *testing.T) {
	mine := errors.New("enough")
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("after") == "1" {
			refuse(w, api.Errorf(api.CodeConflict, "events after 1 are no longer kept"))
			return
		}
		sse(w, 8, 8)
		fmt.Fprint(w, "event: error\ndata: {\"error\":{\"code\":\"conflict\",\"message\":\"too slow\"}}\n\n")
	})}, Patience: -1})
	ok := func(api.Event) error { return nil }
	want(t, c.Events(t.Context(), EventQuery{After: 1}, ok), api.CodeConflict, "no longer kept")
	want(t, c.Events(t.Context(), EventQuery{After: 7}, ok), api.CodeConflict, "too slow")
	if err := c.Events(t.Context(), EventQuery{After: 7}, func(api.Event) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("error %v, want the callback's", err)
	}
	c = newClient(t, Config{Addrs: []string{closed(t)}, Patience: -1})
	want(t, c.Events(t.Context(), EventQuery{After: 1}, ok), api.CodeUnavailable, "no node answers")
}

// logServer is a task whose log grows while its reader loses the connection.
type logServer struct {
	t       *testing.T
	tries   atomic.Int32
	serveAs func(try int, w *json.Encoder, flush func()) (whole bool)
	task    func(try int) *api.Task
	query   []string
}

func (s *logServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/logs") {
		answer(w, 200, s.task(int(s.tries.Load())))
		return
	}
	s.query = append(s.query, r.URL.RawQuery)
	if !s.serveAs(int(s.tries.Add(1)), json.NewEncoder(w), w.(http.Flusher).Flush) {
		panic(http.ErrAbortHandler)
	}
}

func logLine(attempt, second int) LogLine {
	return LogLine{Time: time.Date(2026, 5, 1, 12, 0, second, 0, time.UTC), Stream: "stdout", Text: fmt.Sprintf("%d:%d", attempt, second), Task: "web.0", Attempt: attempt}
}

func TestFollowedLogGoesOn(t *testing.T) {
	s := &logServer{t: t}
	s.task = func(try int) *api.Task {
		if try < 4 {
			return &api.Task{ID: "web.0", Attempt: 2, State: api.TaskRunning}
		}
		return &api.Task{ID: "web.0", Attempt: 2, State: api.TaskKilled}
	}
	s.serveAs = func(try int, w *json.Encoder, flush func()) bool {
		send := func(lines ...LogLine) {
			for _, l := range lines {
				_ = w.Encode(l)
			}
			flush()
		}
		switch try {
		case 1:
			send(logLine(1, 3), logLine(1, 4))
			return false // a node on the way is lost
		case 2:
			send(logLine(1, 1), logLine(1, 2), logLine(1, 3), logLine(1, 4), logLine(1, 5))
			return true // the attempt ended
		case 3:
			send(logLine(2, 1)) // the clock of another node is behind
			return true
		}
		send(logLine(2, 1), logLine(2, 2))
		return true
	}
	c := newClient(t, Config{Addrs: []string{serve(t, s.ServeHTTP)}})
	var got []string
	err := c.Logs(t.Context(), "web.0", LogOptions{Follow: true, Tail: 2}, func(l LogLine) error {
		got = append(got, l.Text)
		return nil
	})
	if err != nil || strings.Join(got, " ") != "1:3 1:4 1:5 2:1 2:2" {
		t.Errorf("got %q (%v)", got, err)
	}
	if s.query[0] != "follow=1&tail=2" || s.query[1] != "follow=1" {
		t.Errorf("asked %q: after a break, all since then is wanted", s.query)
	}
}

func TestLogOfOneAttemptEnds(t *testing.T) {
	s := &logServer{t: t, task: func(int) *api.Task { return &api.Task{ID: "web.0", Attempt: 3, State: api.TaskRunning} }}
	whole := true
	s.serveAs = func(_ int, w *json.Encoder, flush func()) bool {
		_ = w.Encode(logLine(2, 1))
		flush()
		return whole
	}
	c := newClient(t, Config{Addrs: []string{serve(t, s.ServeHTTP)}})
	n := 0
	count := func(LogLine) error { n++; return nil }
	for _, o := range []LogOptions{{Attempt: 2, Follow: true}, {Attempt: -1, Follow: true, Stream: "stderr"}, {}} {
		if n = 0; c.Logs(t.Context(), "web.0", o, count) != nil || n != 1 {
			t.Errorf("%+v: %d lines, want one and the end", o, n)
		}
	}
	if s.query[1] != "attempt=-1&follow=1&stream=stderr" {
		t.Errorf("asked %q", s.query[1])
	}
	whole = false
	want(t, c.Logs(t.Context(), "web.0", LogOptions{}, count), api.CodeUnavailable, "broke off")
	mine := errors.New("enough")
	if err := c.Logs(t.Context(), "web.0", LogOptions{Follow: true}, func(LogLine) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("error %v, want the callback's", err)
	}
}

// execServer upgrades and hands the connection over.
func execServer(t *testing.T, with func(in *bufio.Reader, out io.Writer)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/whoami" {
			answer(w, 200, struct{}{})
			return
		}
		if r.Header.Get("Upgrade") != "mesita-exec" || r.Method != http.MethodPost {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: mesita-exec\r\n\r\n")
		with(rw.Reader, conn)
	}
}

func frame(kind byte, p []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(p))), p...)
}

func readFrame(t *testing.T, r io.Reader) (byte, []byte) {
	var h [5]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		t.Error(err)
		return 255, nil
	}
	p := make([]byte, binary.BigEndian.Uint32(h[1:]))
	if _, err := io.ReadFull(r, p); err != nil {
		t.Error(err)
	}
	return h[0], p
}

func TestExecPassesStreamsAndCode(t *testing.T) {
	sizes := make(chan Size, 1)
	sizes <- Size{50, 200}
	c := newClient(t, Config{Addrs: []string{serve(t, execServer(t, func(in *bufio.Reader, out io.Writer) {
		var stdin []byte
		var resized, ended bool
		for !resized || !ended {
			switch kind, p := readFrame(t, in); kind {
			case frameStdin:
				stdin = append(stdin, p...)
			case frameStdinEnd:
				ended = true
			case frameResize:
				resized = bytes.Equal(p, []byte{0, 50, 0, 200})
			default:
				return
			}
		}
		_, _ = out.Write(slices.Concat(frame(frameStdout, stdin), frame(frameStderr, []byte("warning")), frame(frameExit, []byte{0xff, 0xff, 0xff, 0xfe})))
	}))}})
	input := strings.Repeat("0123456789", 20000)
	var out, errs strings.Builder
	code, err := c.Exec(t.Context(), "web.0", ExecOptions{Command: []string{"cat", "-"}, TTY: true, Size: Size{24, 80}, Resize: sizes,
		Stdin: strings.NewReader(input), Stdout: &out, Stderr: &errs})
	if err == nil || code != 0 {
		t.Fatalf("a frame of 200000 bytes is taken: %d %v", code, err)
	}
	sizes <- Size{50, 200}
	out.Reset()
	code, err = c.Exec(t.Context(), "web.0", ExecOptions{Command: []string{"cat", "-"}, Resize: sizes, Stdin: strings.NewReader(input[:60000]), Stdout: &out, Stderr: &errs})
	if err != nil || code != -2 || out.String() != input[:60000] || errs.String() != "warning" {
		t.Fatalf("code %d, %v, %d bytes, %q", code, err, out.Len(), errs.String())
	}
}

func TestExecEndsWithItsConnection(t *testing.T) {
	c := newClient(t, Config{Addrs: []string{serve(t, execServer(t, func(_ *bufio.Reader, out io.Writer) {
		_, _ = out.Write(frame(frameStdout, []byte("half"))[:7])
	}))}})
	var out strings.Builder
	_, err := c.Exec(t.Context(), "web.0", ExecOptions{Command: []string{"ls"}, Stdout: &out, Stderr: &out})
	want(t, err, api.CodeUnavailable, "broke off")

	ctx, cancel := context.WithCancel(t.Context())
	c = newClient(t, Config{Addrs: []string{serve(t, execServer(t, func(in *bufio.Reader, _ io.Writer) {
		cancel()
		_, _ = io.Copy(io.Discard, in) // until the client has left
	}))}})
	stdin, _ := io.Pipe() // nothing comes
	if _, err := c.Exec(ctx, "web.0", ExecOptions{Command: []string{"sh"}, Stdin: stdin, Stdout: &out, Stderr: &out}); err == nil {
		t.Error("an exec that was cancelled has no code")
	}
}

// A command that may have been started is not started again.
func TestExecIsNotRepeated(t *testing.T) {
	var tries atomic.Int32
	c := newClient(t, Config{Addrs: []string{serve(t, func(http.ResponseWriter, *http.Request) {
		tries.Add(1)
		panic(http.ErrAbortHandler)
	})}})
	_, err := c.Exec(t.Context(), "web.0", ExecOptions{Command: []string{"rm"}})
	want(t, err, api.CodeUnavailable, "no node answers")
	if n := tries.Load(); n != 1 {
		t.Errorf("%d tries, want one", n)
	}
	tries.Store(0)
	c = newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if tries.Add(1) == 1 {
			refuse(w, api.Errorf(api.CodeUnavailable, "no leader"))
			return
		}
		refuse(w, api.Errorf(api.CodeConflict, "does not run"))
	})}})
	_, err = c.Exec(t.Context(), "web.0", ExecOptions{Command: []string{"ls"}})
	want(t, err, api.CodeConflict, "does not run")
}

// Who can do without some events continues after the newest where older ones are lost,
// once it was told so; where even that is refused it is an error, not a loop.
func TestEventsFromNow(t *testing.T) {
	var asked []string
	newest := "9"
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/nodes" {
			w.Header().Set(headerEvent, newest)
			answer(w, http.StatusOK, map[string]any{"items": []any{}})
			return
		}
		after := r.URL.Query().Get("after")
		asked = append(asked, after)
		if after != "9" {
			refuse(w, api.Errorf(api.CodeConflict, "events after %s are no longer kept", after))
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "event: job.created\ndata: {\"index\": 12, \"kind\": \"job.created\"}\n\n")
	})}})
	ctx, cancel := context.WithCancel(t.Context())
	lost := 0
	var got []uint64
	err := c.EventsFromNow(ctx, EventQuery{For: "web", After: 5}, func() error { lost++; return nil }, func(e api.Event) error {
		got = append(got, e.Index)
		cancel()
		return nil
	})
	if err != nil || lost != 1 || !slices.Equal(got, []uint64{12}) || !slices.Equal(asked, []string{"5", "9"}) {
		t.Errorf("%v, lost %d times, got %v, asked after %v", err, lost, got, asked)
	}
	newest = "5"
	err = c.EventsFromNow(t.Context(), EventQuery{After: 5}, func() error { return nil }, func(api.Event) error { return nil })
	want(t, err, api.CodeConflict, "no longer kept")
	if n, err := c.LastEvent(t.Context()); n != 5 || err != nil {
		t.Errorf("the last event is %d, %v", n, err)
	}
	if now, err := c.Clock(t.Context()); err != nil || time.Since(now).Abs() > time.Minute {
		t.Errorf("the clock says %s, %v", now, err)
	}
}
