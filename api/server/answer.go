package server

import (
	"bytes"
	"encoding/json"
	"iter"
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

// with is an answer with a status other than 200.
type with struct {
	status int
	value  any
}

// text is an answer that is no JSON.
type text string

// done is the answer of a handler that has written its own.
type done struct{}

// list is an answer of many items, encoded one by one so that a long list
// needs no long buffer.
type list struct {
	items func(yield func(any) bool)
	extra any // merged into the answer's object, if not nil
}

func listOf[T any](items iter.Seq[T]) list {
	return list{items: func(yield func(any) bool) { items(func(t T) bool { return yield(t) }) }}
}

// filtered passes on the items that keep holds for.
func filtered[T any](items iter.Seq[T], keep func(T) bool) iter.Seq[T] {
	return func(yield func(T) bool) { items(func(t T) bool { return !keep(t) || yield(t) }) }
}

// encoder is a buffer with the JSON encoder that writes into it.
type encoder struct {
	bytes.Buffer
	json *json.Encoder
}

var encoders = sync.Pool{New: func() any {
	e := &encoder{}
	e.json = json.NewEncoder(&e.Buffer)
	e.json.SetEscapeHTML(false)
	return e
}}

func getEncoder() *encoder { return encoders.Get().(*encoder) }

func (e *encoder) free() {
	if e.Cap() <= maxPooled {
		e.Reset()
		encoders.Put(e)
	}
}

// answer writes what a handler returned.
func (c *call) answer(v any) error {
	status := http.StatusOK
	if w, ok := v.(with); ok {
		status, v = w.status, w.value
	}
	switch v := v.(type) {
	case done:
		return nil
	case list:
		return c.answerList(v)
	case text:
		c.head(status, textType)
		c.w.Write([]byte(v)) // the caller is gone if this fails
		return nil
	}
	e := getEncoder()
	defer e.free()
	if err := e.json.Encode(v); err != nil {
		return err
	}
	c.w.Header()["Content-Length"] = []string{strconv.Itoa(e.Len())}
	c.head(status, jsonType)
	if c.r.Method != http.MethodHead {
		c.w.Write(e.Bytes()) // the caller is gone if this fails
	}
	return nil
}

func (c *call) head(status int, contentType []string) {
	h := c.w.Header()
	h["Content-Type"] = contentType
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	h[HeaderIndex] = []string{strconv.FormatUint(c.Store.View().Index(), 10)}
	c.answered, c.status = true, status
	http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(writeTimeout)) // an in-memory writer has none
	c.w.WriteHeader(status)
}

// answerList writes {"items": […], "index": N}.
func (c *call) answerList(l list) (err error) {
	index := c.Store.View().Index()
	e := getEncoder()
	defer e.free()
	e.WriteString(`{"items":[`)
	sep := ""
	l.items(func(item any) bool {
		e.WriteString(sep)
		sep = ","
		if err = e.json.Encode(item); err != nil {
			return false
		}
		e.Truncate(e.Len() - 1) // the encoder's line end
		if e.Len() < maxPooled/2 {
			return true
		}
		if !c.answered {
			c.head(http.StatusOK, jsonType)
		}
		http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(writeTimeout)) // an in-memory writer has none
		_, err = c.w.Write(e.Bytes())
		e.Reset()
		return err == nil
	})
	if err != nil {
		return err
	}
	e.WriteString(`],"index":`)
	e.WriteString(strconv.FormatUint(index, 10))
	if l.extra != nil {
		b, err := json.Marshal(l.extra)
		if err != nil {
			return err
		}
		e.WriteByte(',')
		e.Write(b[1 : len(b)-1])
	}
	e.WriteString("}\n")
	if !c.answered {
		c.w.Header()["Content-Length"] = []string{strconv.Itoa(e.Len())}
		c.head(http.StatusOK, jsonType)
	}
	c.w.Write(e.Bytes()) // the caller is gone if this fails
	return nil
}

// errorBody is how an error travels.
type errorBody struct {
	Error *api.Error `json:"error"`
}

// fail writes an error, or cuts an answer that has begun.
func (c *call) fail(err error) {
	if c.answered {
		panic(http.ErrAbortHandler)
	}
	e := asError(err)
	status := e.Code.HTTPStatus()
	switch {
	case e.Code == api.CodeNotAllowed && c.id.Role == api.RoleNone:
		status = http.StatusUnauthorized
		c.w.Header()["Www-Authenticate"] = []string{"Bearer"}
	case e.Code == api.CodeInternal:
		c.Log.Error("request failed", "method", c.r.Method, "path", c.r.URL.Path, "err", err)
	}
	if err := c.answer(with{status, errorBody{e}}); err != nil {
		c.Log.Error("answer could not be encoded", "err", err)
	}
}
