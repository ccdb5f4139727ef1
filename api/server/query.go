package server

import (
	"encoding"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

// query reads the query parameters and keeps the first error.
type query struct {
	values url.Values
	err    error
}

// parseQuery refuses parameters that the route does not know.
func parseQuery(r *http.Request, known []string) (query, error) {
	if r.URL.RawQuery == "" {
		return query{}, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return query{}, api.FieldErrorf("query", "%v", err)
	}
	for name, v := range values {
		if !slices.Contains(known, name) {
			return query{}, api.UnknownField(name, known)
		}
		if len(v) > 1 && name != "cmd" {
			return query{}, api.FieldErrorf(name, "is given %d times: give it once", len(v))
		}
	}
	return query{values: values}, nil
}

func (q *query) text(name string) string { return q.values.Get(name) }

func (q *query) has(name string) bool { return q.values.Has(name) }

func (q *query) fail(err error) {
	if q.err == nil {
		q.err = err
	}
}

// flag is true for 1 and true, false for 0, false and nothing.
func (q *query) flag(name string) bool {
	s := q.text(name)
	if s == "" {
		return false
	}
	v, err := strconv.ParseBool(s)
	if err != nil {
		q.fail(api.FieldErrorf(name, "%q is neither 1 nor 0", s))
	}
	return v
}

// number is a whole number within lo to hi; missing is what it is if not given.
func (q *query) number(name string, missing, lo, hi int) int {
	s := q.text(name)
	if s == "" {
		return missing
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < lo || n > hi {
		q.fail(api.FieldErrorf(name, "%q is not a whole number within %d to %d", s, lo, hi))
	}
	return n
}

func (q *query) index(name string) uint64 {
	s := q.text(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		q.fail(api.FieldErrorf(name, "%q is not an index: give the one of the last event seen", s))
	}
	return n
}

func (q *query) duration(name string, missing, most time.Duration) time.Duration {
	s := q.text(name)
	if s == "" {
		return missing
	}
	d, err := api.ParseDuration(s)
	if err != nil {
		q.fail(api.InField(name, err))
	} else if d < 0 || time.Duration(d) > most {
		q.fail(api.FieldErrorf(name, "%s is not within 0s to %s", s, most))
	}
	return time.Duration(d)
}

// oneOf is one of the words, or "".
func (q *query) oneOf(name string, words ...string) string {
	s := q.text(name)
	if s != "" && !slices.Contains(words, s) {
		q.fail(api.FieldErrorf(name, "%q is none of %s", s, strings.Join(words, ", ")))
	}
	return s
}

// enum reads a named value into v and tells whether it was given.
func (q *query) enum(name string, v encoding.TextUnmarshaler) bool {
	s := q.text(name)
	if s == "" {
		return false
	}
	if err := v.UnmarshalText([]byte(s)); err != nil {
		q.fail(api.InField(name, err))
	}
	return true
}
