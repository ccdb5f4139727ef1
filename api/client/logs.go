package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
)

// LogOptions chooses what of a task's log is wanted.
type LogOptions struct {
	Attempt int    // 0 = newest, -1 = the one before
	Follow  bool   // until the attempt has ended; with Attempt 0 until the task has, over its restarts
	Tail    int    // only the last so many lines; 0 = all, below 0 = none of what is there
	Since   string // only lines that began then or later: see api.ParseWhen
	Stream  string // "stdout", "stderr" or "" = both
}

// LogLine is a piece of a task's log. Its Data is always what was written.
type LogLine = api.LogLine

// maxStuck is how often the rest of a log is asked for while nothing of it comes.
const maxStuck = 5

// maxAway is how often in a row a follow asks a node that does not answer, each
// time with the client's patience: for longer than an upgrade takes, and than a
// service is left there.
const maxAway = 5

// Logs calls f with each piece of a task's log until it ends, ctx ends, which
// is not an error, or f fails. Where the connection breaks it continues with the next
// byte; a follow continues from attempt to attempt, waits for those that are not
// started yet, and ends when the task does.
func (c *Client) Logs(ctx context.Context, task string, o LogOptions, f func(LogLine) error) error {
	l := logReader{c: c, task: task, o: o, f: f, attempt: o.Attempt}
	stuck, away := 0, 0
	for retry := backoff.New(reconnect, maxReconnect); ; {
		before := l.last
		err := l.once(ctx)
		if o.Follow && o.Attempt == 0 && l.attempt > 0 && api.ErrorCode(err) == api.CodeNotFound {
			err = nil // that attempt left no log
		}
		stuck++
		moved := l.last.Time != before.Time || l.last.Pos != before.Pos
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && (!o.Follow || l.ended(ctx)):
			return nil
		case err == nil:
		case l.tooOld(err):
			continue
		case o.Follow && o.Attempt == 0 && NoLog(err) && l.waits(ctx):
		case o.Follow && again(err) && away < maxAway: // an upgrade of its node, or the task starts elsewhere
			away++
			l.resume()
			l.ended(ctx)
		case !errors.Is(err, errBroken):
			return err
		case !o.Follow && (l.last.Pos == [2]int64{} || stuck > maxStuck):
			return api.Errorf(api.CodeUnavailable, "the log of %s broke off: try again", task)
		default:
			l.resume()
		}
		if moved {
			retry.Reset()
			stuck, away = 0, 0
			l.o.Tail = 0 // the rest is told by its place
		}
		if !retry.Wait(ctx) {
			return nil
		}
	}
}

// logReader reads one task's log over all that breaks.
type logReader struct {
	c       *Client
	task    string
	o       LogOptions
	f       func(LogLine) error
	attempt int     // to ask for
	last    LogLine // that was handed out
	plain   bool    // a node on the way knows no places
}

// resume asks for the attempt that was read, if its place is known.
func (l *logReader) resume() {
	if l.last.Pos != [2]int64{} {
		l.attempt = max(l.attempt, l.last.Attempt)
	}
}

// ended reports whether nothing more can come after the end of a stream. If not,
// the next attempt is asked for.
func (l *logReader) ended(ctx context.Context) bool {
	if l.o.Attempt < 0 {
		return true
	}
	t, err := l.c.Task(ctx, l.task)
	switch {
	case err != nil:
		return !again(err)
	case l.o.Attempt > 0 && t.Attempt != l.o.Attempt, l.last.Attempt > t.Attempt:
		return true
	}
	read := max(l.attempt, l.last.Attempt)
	if l.o.Attempt != 0 || read == 0 || read >= t.Attempt {
		return t.State.Final()
	}
	if started := read+1 < t.Attempt || t.NodeID != ""; started {
		l.attempt = read + 1 // none is passed over
		l.o.Tail = 0
		return false
	}
	return t.State.Final() // stopped before it was started again
}

// NoLog reports whether there is no log of a task, or not yet.
func NoLog(err error) bool {
	code := api.ErrorCode(err)
	return code == api.CodeNotFound || code == api.CodeConflict
}

// waits reports whether the task may yet have a log.
func (l *logReader) waits(ctx context.Context) bool {
	t, err := l.c.Task(ctx, l.task)
	return again(err) || err == nil && !t.State.Final()
}

// tooOld notes that a node does not know what it was asked for.
func (l *logReader) tooOld(err error) bool {
	var e *api.Error
	if l.plain || !errors.As(err, &e) || e.Code != api.CodeInvalid || e.Field != "after" {
		return false
	}
	l.plain = true
	return true
}

func (l *logReader) query() url.Values {
	q := url.Values{}
	if l.o.Follow {
		q.Set("follow", "1")
	}
	if l.o.Tail != 0 {
		q.Set("tail", strconv.Itoa(max(0, l.o.Tail)))
	}
	if l.o.Since != "" {
		q.Set("since", l.o.Since)
	}
	if l.attempt != 0 {
		q.Set("attempt", strconv.Itoa(l.attempt))
	}
	if p := l.last.Pos; !l.plain && p != [2]int64{} && l.attempt == l.last.Attempt {
		q.Set("after", fmt.Sprintf("%d,%d", p[0], p[1]))
	}
	if l.o.Stream != "" {
		q.Set("stream", l.o.Stream)
	}
	return q
}

func (l *logReader) once(ctx context.Context) error {
	res, err := l.c.try(ctx, request{method: http.MethodGet, path: "/v1/tasks/" + url.PathEscape(l.task) + "/logs?" + l.query().Encode()})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	seen := l.last
	for dec := json.NewDecoder(res.Body); ; {
		var p LogLine
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return errBroken
		}
		if p.Error != nil && again(p.Error) {
			return errBroken
		}
		if p.Error != nil {
			return p.Error
		}
		if p.Data == nil && p.Missing == nil {
			p.Data = []byte(p.Text)
		}
		if !l.fresh(&p, seen) {
			continue
		}
		if err := l.f(p); err != nil {
			return err
		}
		l.last = p
	}
}

// fresh leaves out what was handed out before the connection broke.
func (l *logReader) fresh(p *LogLine, seen LogLine) bool {
	if p.Attempt < l.last.Attempt || len(p.Data) == 0 && p.Missing == nil {
		return false
	}
	if p.Attempt > l.last.Attempt {
		return true
	}
	if p.Pos == [2]int64{} || l.last.Pos == [2]int64{} {
		return p.Attempt != seen.Attempt || p.Time.After(seen.Time)
	}
	stream, size := p.Stream, int64(len(p.Data))
	if p.Missing != nil {
		stream, size = p.Missing.Stream, p.Missing.Bytes
	}
	at := 0
	if stream == "stderr" {
		at = 1
	}
	old := l.last.Pos[at] - (p.Pos[at] - size) // so much of it was handed out
	switch {
	case old <= 0 || size < 0:
	case old >= size:
		return false
	case p.Missing != nil:
		p.Missing.Bytes -= old
	default:
		p.Data = p.Data[old:]
	}
	return true
}
