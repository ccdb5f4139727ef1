package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mesita/mesita/api"
)

// pieces makes a node's log one of these pieces.
func (n *testNode) pieces(all ...LogPiece) {
	n.logs = func(_ context.Context, q LogQuery, emit func(*LogPiece) error) error {
		for _, p := range all {
			if q.Stdout && p.Stream != "stdout" {
				continue
			}
			p.Time = testTime
			if err := emit(&p); err != nil {
				return err
			}
		}
		return emit(nil)
	}
}

// cuts cuts text into pieces of a stream, of up to most bytes.
func cuts(r *rand.Rand, stream string, text []byte, most int) (all []LogPiece) {
	at := 0
	for at < len(text) {
		n := min(1+r.IntN(most), len(text)-at)
		p := LogPiece{Stream: stream, Data: text[at : at+n]}
		at += n
		p.Pos = [2]int64{int64(at), 0}
		if stream == "stderr" {
			p.Pos = [2]int64{0, int64(at)}
		}
		all = append(all, p)
	}
	return all
}

func decodeLog(t *testing.T, b []byte) (all []api.LogLine) {
	t.Helper()
	for dec := json.NewDecoder(bytes.NewReader(b)); ; {
		var l api.LogLine
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
}

// TestLogsAreTheBytesWritten: whatever was written in whatever pieces comes back
// as bytes; and where it is text, who only reads the text gets all of it.
func TestLogsAreTheBytesWritten(t *testing.T) {
	oak, elm := runningOnOak(t)
	token := oak.token(api.RoleViewer)
	for seed := range uint64(15) {
		r := rand.New(rand.NewPCG(seed, 1))
		want := map[string][]byte{}
		var all []LogPiece
		for _, stream := range []string{"stdout", "stderr"} {
			switch b := make([]byte, 8000); seed % 3 {
			case 0: // UTF-8
				want[stream] = []byte(strings.Repeat("aé→\U0001F600\n", 800))
			case 1: // Latin-1
				want[stream] = bytes.Repeat([]byte("caf\xe9 na\xefve\n"), 800)
			default:
				for i := range b {
					b[i] = byte(r.Uint32())
				}
				want[stream] = b
			}
			all = append(all, cuts(r, stream, want[stream], []int{1, 3, 100, 4096, 20_000}[seed%5])...)
		}
		oak.pieces(all...)
		answer := elm.send(request{method: "GET", path: "/v1/tasks/sums.0/logs", token: token})
		answer.want(t, 200)
		got, text := map[string][]byte{}, map[string]string{}
		for _, l := range decodeLog(t, answer.body) {
			if text[l.Stream] += l.Text; l.Data == nil {
				l.Data = []byte(l.Text)
			}
			got[l.Stream] = append(got[l.Stream], l.Data...)
		}
		for stream, w := range want {
			if !bytes.Equal(got[stream], w) {
				t.Fatalf("seed %d, %s: %d bytes became %d others", seed, stream, len(w), len(got[stream]))
			}
			if utf8.Valid(w) && text[stream] != string(w) {
				t.Fatalf("seed %d, %s: the text is another", seed, stream)
			}
		}
		raw := elm.send(request{method: "GET", path: "/v1/tasks/sums.0/logs?stream=stdout", token: token, header: http.Header{"Accept": {"application/octet-stream"}}})
		raw.want(t, 200)
		if !bytes.Equal(raw.body, want["stdout"]) || raw.Header.Get("Content-Type") != "application/octet-stream" || raw.Trailer.Get("X-Mesita-Missing") != "0" {
			t.Fatalf("seed %d: %d raw bytes, want %d; %v", seed, len(raw.body), len(want["stdout"]), raw.Trailer)
		}
	}
}

// TestWhatIsMissingIsTold: in both forms, and to clients that only know text.
func TestWhatIsMissingIsTold(t *testing.T) {
	oak, elm := runningOnOak(t)
	token := oak.token(api.RoleViewer)
	gap := LogPiece{Stream: "stdout", Missing: 41, Why: "the log was rotated", Pos: [2]int64{42, 0}}
	oak.pieces(LogPiece{Stream: "stdout", Data: []byte("\xc3"), Pos: [2]int64{1, 0}}, gap, LogPiece{Stream: "stdout", Data: []byte("on\n"), Pos: [2]int64{45, 0}})
	answer := elm.send(request{method: "GET", path: "/v1/tasks/sums.0/logs", token: token})
	got, text := "", map[string]string{}
	var missing *api.LogMissing
	for _, l := range decodeLog(t, answer.body) {
		if text[l.Stream] += l.Text; l.Data == nil {
			l.Data = []byte(l.Text)
		}
		if got += string(l.Data); l.Missing != nil {
			missing = l.Missing
		}
	}
	if got != "\xc3on\n" || missing == nil || *missing != (api.LogMissing{Stream: "stdout", Bytes: 41, Why: gap.Why}) {
		t.Errorf("%q, %+v", got, missing)
	}
	if text["stdout"] != "\uFFFDon\n" || text["stderr"] != "mesita: 41 bytes of stdout are missing here: the log was rotated\n" {
		t.Errorf("%q", text)
	}
	raw := func() (string, string) {
		t.Helper()
		r := elm.send(request{method: "GET", path: "/v1/tasks/sums.0/logs", token: token, header: http.Header{"Accept": {"application/octet-stream"}}})
		return string(r.body), r.Trailer.Get("X-Mesita-Missing")
	}
	if b, n := raw(); b != "\xc3on\n" || n != "41" {
		t.Errorf("%q, missing %q", b, n)
	}
	gap.Missing = -1
	oak.pieces(gap)
	if b, n := raw(); b != "" || n != "unknown" {
		t.Errorf("%q, missing %q", b, n)
	}
}

// TestABrokenLogIsNotAWholeOne: a log that cannot be read on is cut off, with
// the reason where there is room for one.
func TestABrokenLogIsNotAWholeOne(t *testing.T) {
	oak, _ := runningOnOak(t)
	token := oak.token(api.RoleViewer)
	oak.logs = func(_ context.Context, _ LogQuery, emit func(*LogPiece) error) error {
		return errors.Join(emit(&LogPiece{Stream: "stdout", Data: []byte("half")}), api.Errorf(api.CodeFailed, "the disk died"))
	}
	for _, accept := range []string{"*/*", "application/octet-stream"} {
		res, err := oak.http.Client().Do(oak.newRequest(oak.http, request{method: "GET", path: "/v1/local/tasks/sums.0/logs?follow=1", token: token, header: http.Header{"Accept": {accept}}}))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err == nil || !strings.Contains(string(b), "half") || strings.Contains(string(b), "the disk died") != (accept == "*/*") {
			t.Errorf("%s: %q, %v", accept, b, err)
		}
	}
}

func TestLogPlaces(t *testing.T) {
	oak, elm := runningOnOak(t)
	token := oak.token(api.RoleViewer)
	oak.logs = func(_ context.Context, q LogQuery, _ func(*LogPiece) error) error {
		if q.After != [2]int64{4096, 7} || !q.Since.Equal(testTime.Add(-600e9)) {
			t.Errorf("%+v", q)
		}
		return nil
	}
	elm.send(request{method: "GET", path: "/v1/tasks/sums.0/logs?after=4096,7&since=10m", token: token}).want(t, 200)
	for _, bad := range []string{"after=4096", "after=-1,0", "after=x,y", "after=1,2,3", "since=soon"} {
		field, _, _ := strings.Cut(bad, "=")
		if e := elm.send(request{method: "GET", path: "/v1/tasks/sums.0/logs?" + bad, token: token}).want(t, 400); e.Field != field {
			t.Errorf("%s: %+v", bad, e)
		}
	}
}
