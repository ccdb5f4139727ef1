package exchange

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
)

// HeaderIndex is, on every answer, the index of the state that it was made of
// or at least of; HeaderEvent is, on lists, also on those that the caller has already,
// the event to continue after; HeaderStale is set when no leader confirmed that state.
const (
	HeaderIndex = "X-Mesita-Index"
	HeaderEvent = "X-Mesita-Event"
	HeaderStale = "X-Mesita-Stale"
)

// Shared header values: net/http only reads them.
var (
	jsonType = []string{"application/json"}
	textType = []string{"text/plain; charset=utf-8"}
	noStore  = []string{"no-store"}
	noSniff  = []string{"nosniff"}
	stale    = []string{"1"}
)

// With is an answer with a status other than 200.
type With struct {
	Status int
	Value  any
}

// Text is an answer that is not JSON.
type Text string

// Done is the answer of a handler that has written its own.
type Done struct{}

// Encoder is a buffer with the JSON encoder that writes into it.
type Encoder struct {
	bytes.Buffer
	JSON *json.Encoder
}

var encoders = sync.Pool{New: func() any {
	e := &Encoder{}
	e.JSON = json.NewEncoder(&e.Buffer)
	e.JSON.SetEscapeHTML(false)
	return e
}}

func GetEncoder() *Encoder { return encoders.Get().(*Encoder) }

func (e *Encoder) Free() {
	if e.Cap() <= MaxPooled {
		e.Reset()
		encoders.Put(e)
	}
}

// answer writes what a handler returned.
func (c *Call) answer(v any) error {
	status := http.StatusOK
	if w, ok := v.(With); ok {
		status, v = w.Status, w.Value
	}
	switch v := v.(type) {
	case Done:
		return nil
	case List:
		return c.answerList(v)
	case Text:
		c.Head(status, textType)
		c.W.Write([]byte(v)) // the caller is gone if this fails
		return nil
	}
	e := GetEncoder()
	defer e.Free()
	if err := e.JSON.Encode(v); err != nil {
		return err
	}
	c.W.Header()["Content-Length"] = []string{strconv.Itoa(e.Len())}
	c.Head(status, jsonType)
	if c.R.Method != http.MethodHead {
		c.W.Write(e.Bytes()) // the caller is gone if this fails
	}
	return nil
}

func (c *Call) Head(status int, contentType []string) {
	h := c.W.Header()
	h["Content-Type"] = contentType
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	h[HeaderIndex] = []string{strconv.FormatUint(c.Store.View().Index(), 10)}
	c.Answered, c.Status = true, status
	c.begun()
	http.NewResponseController(c.W).SetWriteDeadline(time.Now().Add(writeTimeout)) // an in-memory writer has none
	c.W.WriteHeader(status)
}

// WritePart writes a part of an answer that is made while it is sent; each may take as long
// as a whole one.
func (c *Call) WritePart(b []byte) error {
	http.NewResponseController(c.W).SetWriteDeadline(time.Now().Add(writeTimeout)) // an in-memory writer has none
	_, err := c.W.Write(b)
	return err
}

// ErrorBody is how an error travels.
type ErrorBody struct {
	Error *api.Error `json:"error"`
}

// fail writes an error, or cuts an answer that has begun.
func (c *Call) fail(err error) {
	if c.Answered {
		panic(http.ErrAbortHandler)
	}
	if c.Route != nil && c.Route.Fails != nil {
		c.Route.Fails(c, err)
		return
	}
	e := AsError(err)
	status := e.Code.HTTPStatus()
	switch {
	case e.Allow != "":
		status = http.StatusMethodNotAllowed
		c.W.Header()["Allow"] = []string{e.Allow}
	case e.Code == api.CodeTimeout && c.Route != nil && c.Query.Has(c.Route.Held):
		status = http.StatusRequestTimeout // what the caller waits for is not there yet, which is nobody's fault
	case e.Code == api.CodeNotAllowed && !c.ID.Known():
		status = http.StatusUnauthorized
		c.W.Header()["Www-Authenticate"] = []string{"Bearer"}
	case e.Code == api.CodeInternal:
		c.Log.Error("request failed", "method", c.R.Method, "path", c.R.URL.Path, "err", err)
	}
	if e.Code == api.CodeBusy || e.Code == api.CodeUnavailable {
		c.W.Header()["Retry-After"] = []string{strconv.FormatInt(max(1, int64(math.Ceil(e.Retry.Seconds()))), 10)}
	}
	if err := c.answer(With{status, ErrorBody{e}}); err != nil {
		c.Log.Error("answer could not be encoded", "err", err)
	}
}
