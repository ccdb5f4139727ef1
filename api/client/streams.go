package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
)

const (
	maxEvent     = 4 << 20 // bytes of one event
	reconnect    = 100 * time.Millisecond
	maxReconnect = 2 * time.Second
)

// errBroken is a stream that ended in the middle.
var errBroken = errors.New("the stream ended")

// Events calls f with each event after index, in order, until ctx ends, which
// is no error, or f fails. It reconnects without gap or double; it fails with
// CodeConflict when events after index are no longer kept, and with
// CodeUnavailable when no node answers for as long as the patience is.
func (c *Client) Events(ctx context.Context, after uint64, about string, f func(api.Event) error) error {
	for retry := backoff.New(reconnect, maxReconnect); ; {
		seen := after
		err := c.eventsOnce(ctx, &after, about, f)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, errBroken) {
			return err
		}
		if after != seen {
			retry.Reset()
		}
		if !retry.Wait(ctx) {
			return nil
		}
	}
}

func (c *Client) eventsOnce(ctx context.Context, after *uint64, about string, f func(api.Event) error) error {
	q := url.Values{"after": {strconv.FormatUint(*after, 10)}}
	if about != "" {
		q.Set("for", about)
	}
	res, err := c.try(ctx, request{method: http.MethodGet, path: "/v1/events?" + q.Encode(), header: http.Header{"Accept": {"text/event-stream"}}})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, maxEvent)
	var kind, data []byte
	for lines.Scan() {
		line := lines.Bytes()
		switch {
		case len(line) > 0:
			if v, ok := bytes.CutPrefix(line, []byte("event: ")); ok {
				kind = append(kind[:0], v...)
			} else if v, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
				data = append(data[:0], v...)
			}
			continue
		case len(data) == 0: // a sign of life
			continue
		case string(kind) == "error":
			return streamError(data)
		}
		var e api.Event
		if err := api.DecodeLenient(data, &e); err != nil {
			return api.Errorf(api.CodeFailed, "an event cannot be read: %v", err)
		}
		data = data[:0]
		if err := f(e); err != nil {
			return err
		}
		*after = e.Index
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return api.Errorf(api.CodeFailed, "an event is longer than %s", api.Bytes(maxEvent))
	}
	return errBroken
}

// streamError is what a server said when it ended a stream.
func streamError(data []byte) error {
	var e struct {
		Error *api.Error `json:"error"`
	}
	if json.Unmarshal(data, &e) != nil || e.Error == nil || again(e.Error) {
		return errBroken
	}
	return e.Error
}

// LogOptions chooses what of a task's log is wanted.
type LogOptions struct {
	Attempt int    // 0 = newest, -1 = the one before
	Follow  bool   // until the attempt has ended; with Attempt 0 until the task has, over its restarts
	Tail    int    // only the last so many lines; 0 = all
	Stream  string // "stdout", "stderr" or "" = both
}

// LogLine is a piece of a task's log.
type LogLine struct {
	Time    time.Time `json:"time"`
	Stream  string    `json:"stream"`
	Text    string    `json:"text"`
	Task    string    `json:"task"`
	Attempt int       `json:"attempt"`
}

// Logs calls f with each line of a task's log, or piece of one, until it ends,
// ctx ends, which is no error, or f fails. A follow goes on where it was when a
// node on the way is lost, and ends when the task is.
func (c *Client) Logs(ctx context.Context, task string, o LogOptions, f func(LogLine) error) error {
	var last LogLine
	for retry := backoff.New(reconnect, maxReconnect); ; {
		seen := last.Time
		err := c.logsOnce(ctx, task, o, &last, f)
		switch {
		case ctx.Err() != nil:
			return nil
		case !o.Follow && errors.Is(err, errBroken):
			return api.Errorf(api.CodeUnavailable, "the log of %s broke off: try again", task)
		case err == nil && (!o.Follow || c.logEnded(ctx, task, o, last.Attempt)):
			return nil
		case err != nil && !errors.Is(err, errBroken):
			return err
		}
		if last.Time != seen {
			retry.Reset()
			o.Tail = 0 // the rest is told by its time
		}
		if !retry.Wait(ctx) {
			return nil
		}
	}
}

// logEnded tells whether nothing more can come after the end of a stream.
func (c *Client) logEnded(ctx context.Context, task string, o LogOptions, attempt int) bool {
	if o.Attempt < 0 {
		return true
	}
	t, err := c.Task(ctx, task)
	switch {
	case err != nil:
		return !again(err)
	case o.Attempt > 0 && t.Attempt != o.Attempt, attempt > t.Attempt:
		return true
	}
	return t.State.Final()
}

func (c *Client) logsOnce(ctx context.Context, task string, o LogOptions, last *LogLine, f func(LogLine) error) error {
	q := url.Values{}
	if o.Follow {
		q.Set("follow", "1")
	}
	if o.Tail != 0 {
		q.Set("tail", strconv.Itoa(o.Tail))
	}
	if o.Attempt != 0 {
		q.Set("attempt", strconv.Itoa(o.Attempt))
	}
	if o.Stream != "" {
		q.Set("stream", o.Stream)
	}
	res, err := c.try(ctx, request{method: http.MethodGet, path: "/v1/tasks/" + url.PathEscape(task) + "/logs?" + q.Encode()})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	seen := *last
	for dec := json.NewDecoder(res.Body); ; {
		var l LogLine
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return errBroken
		}
		if l.Attempt < seen.Attempt || l.Attempt == seen.Attempt && !l.Time.After(seen.Time) { // came before the reconnect
			continue
		}
		if err := f(l); err != nil {
			return err
		}
		*last = l
	}
}
