package legacy

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
)

// What a reader has to take of an answer: a second for each so many bytes, and a while
// for it to begin. Who is slower is cut off, as others wait for their turn.
const (
	paceBytes = 1 << 20
	patience  = 10 * time.Second
)

var (
	jsonType   = []string{"application/json"}
	scriptType = []string{"text/javascript"}
)

// sending is an answer on its way out.
type sending struct {
	writer
	c        *exchange.Call
	control  *http.ResponseController
	callback string // of JSONP
	began    time.Time
	sent     int
}

// answer has an answer written by fill. One that may be large is for a few callers at a
// time: the others wait in line. It holds no lock of anybody, and no more than a part of
// it is in memory.
func answer(c *exchange.Call, small bool, fill func(w *writer)) (any, error) {
	callback := c.Query.Text("jsonp")
	if err := checkCallback(c.R, callback); err != nil {
		return nil, err
	}
	turn := c.Ponder
	if small {
		turn = func(write func(context.Context) error) error { return write(c.R.Context()) }
	}
	err := turn(func(ctx context.Context) error {
		r := &sending{c: c, control: http.NewResponseController(c.W), callback: callback, began: time.Now()}
		r.buf = make([]byte, 0, part+part/4)
		r.send = func(b []byte) error { return r.part(ctx, b) }
		if callback != "" {
			r.buf = append(append(r.buf, callback...), '(')
		}
		fill(&r.writer)
		return r.end()
	})
	if err != nil {
		return nil, err
	}
	return exchange.Done{}, nil
}

func (r *sending) head() {
	kind := jsonType
	if r.callback != "" {
		kind = scriptType
	}
	r.c.Head(http.StatusOK, kind)
}

func (r *sending) part(ctx context.Context, b []byte) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if !r.c.Answered {
		r.head()
	}
	r.sent += len(b)
	r.control.SetWriteDeadline(r.began.Add(patience + time.Duration(r.sent/paceBytes)*time.Second)) // an in-memory writer has none
	_, err := r.c.W.Write(b)
	return err
}

func (r *sending) end() error {
	if r.callback != "" {
		r.buf = append(r.buf, ");"...)
	}
	if !r.c.Answered && r.err == nil {
		r.c.W.Header()["Content-Length"] = []string{strconv.Itoa(len(r.buf))}
	}
	r.flush()
	return r.err
}

// maxCallback bounds the name of a function, in bytes.
const maxCallback = 128

// checkCallback refuses what is not the name of a function, which would be a program of
// the caller's in the name of this server, and pages of other sites: a browser would show
// its credentials for them, and they would read what is its user's.
func checkCallback(r *http.Request, name string) error {
	if name == "" {
		return nil
	}
	if len(name) > maxCallback {
		return call.Bad("'jsonp' has " + strconv.Itoa(len(name)) + " characters: at most " + strconv.Itoa(maxCallback) + " are allowed")
	}
	for i := range len(name) {
		b := name[i] | 0x20
		letter := b >= 'a' && b <= 'z' || name[i] == '_' || name[i] == '$'
		if digit := name[i] >= '0' && name[i] <= '9'; !letter && (i == 0 || !digit && name[i] != '.') {
			return call.Bad("'jsonp' is not the name of a function: letters, digits, '_', '$' and '.' are allowed")
		}
	}
	if foreign(r) {
		return &call.Problem{Status: http.StatusForbidden, Body: "'jsonp' is not for pages of other sites: have the page read this from where it comes from"}
	}
	return nil
}

// foreign reports whether a browser asks for a page of another site, or does not say of
// which.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return false
	case "": // it is old, or the connection is in the clear
	default:
		return true
	}
	if from, err := url.Parse(r.Header.Get("Referer")); err == nil && from.Host != "" {
		return from.Host != r.Host
	}
	return strings.Contains(r.Header.Get("User-Agent"), "Mozilla/")
}
