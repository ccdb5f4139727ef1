package server

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
)

const maxAttempt = 1 << 30

// flushEvery is how long pieces of a log that come one after the other are kept
// to be sent together.
const flushEvery = 100 * time.Millisecond

var logQuery = []string{"follow", "tail", "since", "after", "attempt", "stream"}

// logStreams are what a log is of.
var logStreams = words("stdout", "stderr")

// taskLogs passes on the log from the node that has the attempt.
func taskLogs(c *call) (any, error) {
	attempt := c.Query.Number("attempt", 0, -1, maxAttempt)
	if _, err := c.logQuery(1); err != nil {
		return nil, err
	}
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	if err := ownProcess(c.Store.View(), t, "logs"); err != nil {
		return nil, err
	}
	nodeID, number, err := place(t, attempt)
	if err != nil {
		return nil, err
	}
	if v := c.Store.View(); number == t.Attempt && !c.sight(v).RanHere(t) {
		return nil, api.Errorf(api.CodeNotAllowed, "attempt %d of task %s is of before its job came to a partition whose logs you may read: its next attempt is shown", number, t.ID)
	}
	q := c.R.URL.Query()
	q.Set("attempt", strconv.Itoa(number))
	return c.toNode(nodeID, "/v1/local/tasks/"+t.ID+"/logs", q, localLogs)
}

// toNode acts on the node, which may be this one.
func (c *call) toNode(nodeID, path string, q url.Values, local func(*call) (any, error)) (any, error) {
	c.R.URL.RawQuery = q.Encode()
	if nodeID == c.Cluster.NodeID() {
		c.Query.Values = q
		return local(c)
	}
	if n := c.Store.View().Node(nodeID); n != nil && n.State == api.NodeGone {
		return nil, api.Errorf(api.CodeUnavailable, "node %s, which has it, was removed from the cluster", n.Name)
	}
	if answered, err := c.Relay(c.R.Context(), nodeID, path); !answered {
		e := exchange.AsError(err)
		return nil, api.Errorf(api.CodeUnavailable, "the node that has it does not answer: %s", e.Message)
	} else if err != nil {
		return nil, err
	}
	return exchange.Done{}, nil
}

func (c *call) logQuery(attempt int) (LogQuery, error) {
	l := LogQuery{Task: c.Args[0], Attempt: attempt, Follow: c.Query.Flag("follow"), Since: c.when("since")}
	if c.Query.Has("tail") {
		if l.Tail = c.Query.Number("tail", 0, 0, 1<<30); l.Tail == 0 {
			l.Tail = -1
		}
	}
	if after := c.Query.Text("after"); after != "" {
		out, errs, _ := strings.Cut(after, ",")
		for i, s := range []string{out, errs} {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil || n < 0 {
				c.Query.Fail(api.FieldErrorf("after", "%q is not a place in a log: give the two numbers of a pos, as in 4096,120", after))
				break
			}
			l.After[i] = n
		}
	}
	switch c.Query.OneOf("stream", logStreams...) {
	case "stdout":
		l.Stdout = true
	case "stderr":
		l.Stderr = true
	}
	return l, c.Query.Err
}

// logForm is a form in which a log is sent.
type logForm interface {
	begin(h http.Header) (contentType string)
	// piece appends one to what is sent next.
	piece(e *exchange.Encoder, p *LogPiece) error
	// end appends what comes after the last piece, and sets the trailers.
	end(e *exchange.Encoder, h http.Header) error
}

// localLogs reads the log on this node.
func localLogs(c *call) (any, error) {
	l, err := c.logQuery(c.Query.Number("attempt", 1, 1, maxAttempt))
	if err != nil {
		return nil, err
	}
	var form logForm = &jsonLog{api.LogLine{Task: l.Task, Attempt: l.Attempt}, map[string][]byte{}}
	if strings.Contains(c.R.Header.Get("Accept"), rawType) {
		form = &rawLog{}
	}
	// Pieces of what is there already come in a rush: they are sent together.
	out := logSender{c: c, form: form, out: exchange.NewStream(c.Call), pending: exchange.GetEncoder()}
	defer out.pending.Free()
	if l.Follow { // a log that is silent so far is an answer, too
		if out.begin() != nil {
			return exchange.Done{}, nil
		}
	}
	asleep := out.stayAwake()
	err = c.Local.Logs(c.R.Context(), l, out.take)
	asleep()
	switch {
	case err == nil:
		if out.begin() == nil && form.end(out.pending, c.W.Header()) == nil {
			out.send(false) // the reader left if this fails
		}
		return exchange.Done{}, nil
	case c.Over() != nil:
	case out.failed != nil || c.R.Context().Err() != nil:
		return exchange.Done{}, nil // the reader left, or is too slow
	case c.Answered && out.send(true) == nil:
		out.out.Fail(err)
	}
	return nil, err
}

// logSender sends pieces of a log, those together that come together.
type logSender struct {
	c       *call
	form    logForm
	out     exchange.Stream
	pending *exchange.Encoder

	mu     sync.Mutex // pieces, and the words of a silent log
	sent   time.Time
	failed error
}

// stayAwake sends an empty line, which readers of NDJSON skip, whenever the log was
// silent for long, so that nobody on the way takes the connection for dead. It ends
// with what it returns. A log as it was written has no word for that.
func (s *logSender) stayAwake() (end func()) {
	if _, lines := s.form.(*jsonLog); !lines || !s.c.Answered {
		return func() {}
	}
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(keepAlive)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			if s.word() != nil {
				return // whoever sends the next piece finds out why
			}
		}
	}()
	return func() { close(over); <-done }
}

func (s *logSender) word() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	if s.pending.Len() > 0 {
		return s.send(true)
	}
	s.failed = s.out.Write([]byte{'\n'}, true)
	return s.failed
}

func (s *logSender) begin() error {
	if s.c.Answered {
		return nil
	}
	s.sent = time.Now()
	s.failed = s.out.Begin(s.form.begin(s.c.W.Header()))
	return s.failed
}

func (s *logSender) take(p *LogPiece) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(); err != nil {
		return err
	}
	if p == nil {
		return s.send(true)
	}
	if err := s.form.piece(s.pending, p); err != nil {
		return err
	}
	if s.pending.Len() > exchange.MaxPooled/2 || time.Since(s.sent) > flushEvery {
		return s.send(true)
	}
	return nil
}

func (s *logSender) send(flush bool) error {
	if s.pending.Len() == 0 {
		return nil
	}
	s.sent = time.Now()
	s.failed = s.out.Write(s.pending.Bytes(), flush)
	s.pending.Reset()
	return s.failed
}

// jsonLog is NDJSON of api.LogLine.
type jsonLog struct {
	line api.LogLine
	held map[string][]byte // the beginning of a character, by stream
}

func (*jsonLog) begin(http.Header) string { return exchange.NDJSON }

func (j *jsonLog) piece(e *exchange.Encoder, p *LogPiece) error {
	l := j.line
	l.Time, l.Stream, l.Pos = p.Time, p.Stream, p.Pos
	if p.Missing != 0 {
		if err := j.release(e, p.Stream); err != nil {
			return err
		}
		l.Missing = &api.LogMissing{Stream: p.Stream, Bytes: p.Missing, Why: p.Why}
		// Clients that know nothing of it show the text where it belongs.
		l.Stream, l.Text, l.Data = "stderr", "mesita: "+l.Missing.String()+"\n", []byte{}
		return e.JSON.Encode(l)
	}
	held := j.held[p.Stream]
	if len(held) == 0 && utf8.Valid(p.Data) {
		l.Text = string(p.Data)
		return e.JSON.Encode(l)
	}
	text := append(held, p.Data...)
	n := wholeCharacters(text)
	l.Text, l.Data = strings.ToValidUTF8(string(text[:n]), "\uFFFD"), p.Data
	j.held[p.Stream] = append([]byte(nil), text[n:]...)
	return e.JSON.Encode(l)
}

// wholeCharacters is how much of a text is before a character that it ends
// within.
func wholeCharacters(p []byte) int {
	for n := len(p) - 1; n >= 0 && n > len(p)-utf8.UTFMax; n-- {
		if utf8.RuneStart(p[n]) {
			if !utf8.FullRune(p[n:]) {
				return n
			}
			break
		}
	}
	return len(p)
}

// release gives up on the rest of a character.
func (j *jsonLog) release(e *exchange.Encoder, stream string) error {
	if len(j.held[stream]) == 0 {
		return nil
	}
	j.held[stream] = nil
	l := j.line
	l.Time, l.Stream, l.Text, l.Data = time.Now(), stream, "\uFFFD", []byte{}
	return e.JSON.Encode(l)
}

func (j *jsonLog) end(e *exchange.Encoder, _ http.Header) error {
	for _, stream := range []string{"stdout", "stderr"} {
		if err := j.release(e, stream); err != nil {
			return err
		}
	}
	return nil
}

const (
	rawType = "application/octet-stream"
	// headerMissing is, after a raw log, how many bytes are missing in it.
	headerMissing = "X-Mesita-Missing"
)

// rawLog is the bytes as they were written.
type rawLog struct{ missing int64 }

func (*rawLog) begin(h http.Header) string {
	h["Trailer"] = []string{headerMissing}
	return rawType
}

func (r *rawLog) piece(e *exchange.Encoder, p *LogPiece) error {
	switch {
	case p.Missing < 0 || r.missing < 0:
		r.missing = -1
	default:
		r.missing += p.Missing
	}
	_, err := e.Write(p.Data)
	return err
}

func (r *rawLog) end(_ *exchange.Encoder, h http.Header) error {
	h[headerMissing] = []string{strconv.FormatInt(r.missing, 10)}
	if r.missing < 0 {
		h[headerMissing] = []string{"unknown"}
	}
	return nil
}
