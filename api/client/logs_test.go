package client

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// brittleLog is a log whose connection breaks again and again. It is told from
// a place on, or from its start.
type brittleLog struct {
	rand  *rand.Rand
	lines []api.LogLine // of one attempt
	plain bool          // knows no places
	left  int           // so many connections break
	asked int
}

func (b *brittleLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/tasks/web.0" {
		answer(w, 200, &api.Task{ID: "web.0", Attempt: 1, State: api.TaskFinished})
		return
	}
	q, _ := url.ParseQuery(r.URL.RawQuery)
	b.asked++
	if b.plain && q.Has("after") {
		answer(w, 400, map[string]any{"error": api.FieldErrorf("after", "is not known here")})
		return
	}
	var after [2]int64
	if q.Has("after") {
		if _, err := fmt.Sscanf(q.Get("after"), "%d,%d", &after[0], &after[1]); err != nil {
			panic(err)
		}
	}
	lines := b.lines
	for len(lines) > 0 && lines[0].Pos[0] <= after[0] && lines[0].Pos[1] <= after[1] {
		lines = lines[1:]
	}
	breaks := b.left > 0
	if b.left--; breaks {
		lines = lines[:b.rand.IntN(len(lines))+min(1, len(lines))]
	}
	for _, l := range lines {
		_ = json.NewEncoder(w).Encode(l)
	}
	w.(http.Flusher).Flush()
	if breaks {
		panic(http.ErrAbortHandler)
	}
}

// TestABrokenLogGoesOnWithTheNextByte: nothing twice and nothing left out, by
// place and not by time, which jumps; whether nodes on the way know places or
// tell all from the start.
func TestABrokenLogGoesOnWithTheNextByte(t *testing.T) {
	for seed := range uint64(8) {
		b := &brittleLog{rand: rand.New(rand.NewPCG(seed, 2)), plain: seed%2 == 1, left: 4}
		var want [2]string
		var pos [2]int64
		lost := int64(0)
		for i := range 60 {
			s := b.rand.IntN(2)
			l := api.LogLine{Time: time.Unix(int64(1000-i), 0), Stream: []string{"stdout", "stderr"}[s], Task: "web.0", Attempt: 1}
			if i%10 == 5 {
				l.Data, l.Missing = []byte{}, &api.LogMissing{Stream: l.Stream, Bytes: 7, Why: "rotated"}
				pos[s], lost = pos[s]+7, lost+7
			} else {
				l.Data = fmt.Appendf(nil, "%d\xff", i)
				want[s] += string(l.Data)
				pos[s] += int64(len(l.Data))
			}
			l.Pos = pos
			b.lines = append(b.lines, l)
		}
		follow := seed%4 < 2
		c := newClient(t, Config{Addrs: []string{serve(t, b.ServeHTTP)}})
		var got [2]string
		err := c.Logs(t.Context(), "web.0", LogOptions{Follow: follow}, func(l LogLine) error {
			if l.Missing != nil {
				lost -= l.Missing.Bytes
				return nil
			}
			got[slices.Index([]string{"stdout", "stderr"}, l.Stream)] += string(l.Data)
			return nil
		})
		if err != nil || got != want || lost != 0 || b.asked < 5 {
			t.Fatalf("seed %d: got %q (%v), want %q; %d missing bytes untold; asked %d times", seed, got, err, want, lost, b.asked)
		}
	}
}

// TestTheReasonAtTheEnd: a log that the server ends says why.
func TestTheReasonAtTheEnd(t *testing.T) {
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(api.LogLine{Task: "web.0", Attempt: 1, Text: "a\n"})
		_ = json.NewEncoder(w).Encode(map[string]any{"error": &api.Error{Code: api.CodeNotAllowed, Field: "token", Message: "was revoked"}})
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})}})
	err := c.Logs(t.Context(), "web.0", LogOptions{Follow: true}, func(LogLine) error { return nil })
	want(t, err, api.CodeNotAllowed, "was revoked")
}
