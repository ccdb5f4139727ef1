package exchange

import (
	"bytes"
	"encoding/json"
	"iter"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
)

// HeaderIndex is, on every answer, the index of the state that it was made of
// or at least of; HeaderStale is set when no leader confirmed that state.
const (
	HeaderIndex = "X-Mesita-Index"
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

// Text is an answer that is no JSON.
type Text string

// Done is the answer of a handler that has written its own.
type Done struct{}

// List is an answer of many items, encoded one by one so that a long list
// needs no long buffer.
type List struct {
	Items func(yield func(any) bool)
	Extra any // merged into the answer's object, if not nil
}

func ListOf[T any](items iter.Seq[T]) List {
	return List{Items: func(yield func(any) bool) { items(func(t T) bool { return yield(t) }) }}
}

// Filtered passes on the items that keep holds for.
func Filtered[T any](items iter.Seq[T], keep func(T) bool) iter.Seq[T] {
	return func(yield func(T) bool) { items(func(t T) bool { return !keep(t) || yield(t) }) }
}

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

// answerList writes {"items": […], "index": N}.
func (c *Call) answerList(l List) (err error) {
	index := c.Store.View().Index()
	e := GetEncoder()
	defer e.Free()
	e.WriteString(`{"items":[`)
	sep := ""
	l.Items(func(item any) bool {
		e.WriteString(sep)
		sep = ","
		if err = e.JSON.Encode(item); err != nil {
			return false
		}
		e.Truncate(e.Len() - 1) // the encoder's line end
		if e.Len() < MaxPooled/2 {
			return true
		}
		if !c.Answered {
			c.Head(http.StatusOK, jsonType)
		}
		http.NewResponseController(c.W).SetWriteDeadline(time.Now().Add(writeTimeout)) // an in-memory writer has none
		_, err = c.W.Write(e.Bytes())
		e.Reset()
		return err == nil
	})
	if err != nil {
		return err
	}
	e.WriteString(`],"index":`)
	e.WriteString(strconv.FormatUint(index, 10))
	if l.Extra != nil {
		b, err := json.Marshal(l.Extra)
		if err != nil {
			return err
		}
		e.WriteByte(',')
		e.Write(b[1 : len(b)-1])
	}
	e.WriteString("}\n")
	if !c.Answered {
		c.W.Header()["Content-Length"] = []string{strconv.Itoa(e.Len())}
		c.Head(http.StatusOK, jsonType)
	}
	c.W.Write(e.Bytes()) // the caller is gone if this fails
	return nil
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
	e := AsError(err)
	status := e.Code.HTTPStatus()
	switch {
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
