package exchange

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// List is an answer of many items, encoded one by one so that a long list
// needs no long buffer.
type List struct {
	Items func(yield func(any) bool)
	Extra any // merged into the answer's object, if not nil
	// Total, if not nil, is how many rows there are, each of what is told as one,
	// for a list that can be counted for less than what it takes to go through it.
	Total func() int
}

func ListOf[T any](items iter.Seq[T]) List {
	return List{Items: func(yield func(any) bool) { items(func(t T) bool { return yield(t) }) }}
}

// Filtered passes on the items that keep holds for.
func Filtered[T any](items iter.Seq[T], keep func(T) bool) iter.Seq[T] {
	return func(yield func(T) bool) { items(func(t T) bool { return !keep(t) || yield(t) }) }
}

// maxWhole is the most of a list that is held until it is whole: only then can it
// be told from what the caller has, and its length be named. What is longer goes
// out as it is made.
const maxWhole = 1 << 20

// listing is a list on its way out.
type listing struct {
	*Encoder
	c    *Call
	zip  *gzip.Writer // what is sent goes through it; nil: as it is
	paid bool         // what is held is charged to the caller
	rows int
}

// answerList writes {"items": […], "next": CURSOR, "total": N, "index": N, "event": N}.
// All that events up to event tell is in it, so who follows those after it misses none.
func (c *Call) answerList(l List) error {
	index := c.Store.View().Index()
	w := &listing{Encoder: GetEncoder(), c: c}
	defer w.free()
	w.WriteString(`{"items":[`)
	c.W.Header()[HeaderEvent] = []string{strconv.FormatUint(c.event, 10)}
	items, ctx := l.Items, c.R.Context()
	l.Items = func(yield func(any) bool) { // for who is gone nothing more is made
		items(func(item any) bool { return ctx.Err() == nil && yield(item) })
	}
	got, err := c.page.pick(&l, c.Route.Key, w.row)
	if err = cmp.Or(err, ctx.Err()); err != nil {
		return err
	}
	w.WriteByte(']')
	if got.next != "" {
		w.WriteString(`,"next":"` + got.next + `"`)
	}
	if c.Route.Key != nil && c.page.after == nil {
		w.WriteString(`,"total":` + strconv.Itoa(got.total))
	}
	if l.Extra != nil {
		b, err := json.Marshal(l.Extra)
		if err != nil {
			return err
		}
		w.WriteByte(',')
		w.Write(b[1 : len(b)-1])
	}
	tag := w.tag() // the index grows while the list stays as it is
	w.WriteString(`,"index":` + strconv.FormatUint(index, 10) + `,"event":` + strconv.FormatUint(c.event, 10) + "}\n")
	return w.end(tag)
}

func (w *listing) row(v any) error {
	if w.rows++; w.rows > 1 {
		w.WriteByte(',')
	}
	if err := w.c.row(w.Encoder, v); err != nil {
		return err
	}
	switch {
	case w.Len() < MaxPooled/2:
		return nil
	case w.c.Answered, w.Len() > maxWhole:
		return w.send()
	case !w.paid && w.c.charge(maxWhole) != nil: // a caller with too much held gets it in parts
		return w.send()
	}
	w.paid = true
	return nil
}

// zipped reports whether the caller takes the answer compressed, as RFC 9110 12.5.3.
func (c *Call) zipped() bool {
	for s := range strings.SplitSeq(strings.Join(c.R.Header["Accept-Encoding"], ","), ",") {
		name, weight, _ := strings.Cut(s, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		q, weighed := strings.CutPrefix(strings.TrimSpace(weight), "q=")
		f, err := strconv.ParseFloat(q, 64)
		return !weighed || err == nil && f > 0
	}
	return false
}

var zips = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // the level is one
	return z
}}

func (w *listing) compress(to io.Writer) {
	w.zip = zips.Get().(*gzip.Writer)
	w.zip.Reset(to)
	w.c.W.Header()["Content-Encoding"] = []string{"gzip"}
}

func (w *listing) free() {
	if w.zip != nil {
		w.zip.Reset(io.Discard)
		zips.Put(w.zip)
	}
	w.Free()
}

var varies = []string{"Accept-Encoding"}

// send writes what is there so far.
func (w *listing) send() error {
	if !w.c.Answered {
		w.c.W.Header()["Vary"] = varies
		if w.c.zipped() {
			w.compress(w.c.W)
		}
		w.c.Head(http.StatusOK, jsonType)
	}
	http.NewResponseController(w.c.W).SetWriteDeadline(time.Now().Add(writeTimeout)) // an in-memory writer has none
	out := io.Writer(w.c.W)
	if w.zip != nil {
		out = w.zip
	}
	_, err := out.Write(w.Bytes())
	w.Reset()
	return err
}

// tag tells this list from another, "" if a part of it is gone out.
func (w *listing) tag() string {
	if w.c.Answered {
		return ""
	}
	sum := sha256.Sum256(w.Bytes())
	return `W/"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`
}

// leastZipped is what is worth to be compressed.
const leastZipped = 1 << 10

// end writes what is left. The caller is gone if that fails.
func (w *listing) end(tag string) error {
	if w.c.Answered {
		if w.send() == nil && w.zip != nil {
			w.zip.Close()
		}
		return nil
	}
	h := w.c.W.Header()
	h["Etag"], h["Vary"] = []string{tag}, varies
	if w.c.has(tag) {
		w.c.Head(http.StatusNotModified, jsonType)
		return nil
	}
	body := w.Bytes()
	if len(body) >= leastZipped && w.c.zipped() {
		var small bytes.Buffer
		w.compress(&small)
		w.zip.Write(body) // into memory
		w.zip.Close()
		body = small.Bytes()
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.c.Head(http.StatusOK, jsonType)
	w.c.W.Write(body)
	return nil
}

// has reports whether the caller has what has that tag, as RFC 9110 13.1.2.
func (c *Call) has(tag string) bool {
	given := strings.Split(strings.Join(c.R.Header["If-None-Match"], ","), ",")
	return slices.ContainsFunc(given, func(s string) bool {
		s = strings.TrimSpace(s)
		return s == "*" || strings.TrimPrefix(s, "W/") == strings.TrimPrefix(tag, "W/")
	})
}
