package exchange

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

// Query reads the query parameters and keeps the first error.
type Query struct {
	Values url.Values
	Err    error
}

// parseQuery refuses parameters that the route does not know.
func parseQuery(r *http.Request, known []string) (Query, error) {
	if r.URL.RawQuery == "" {
		return Query{}, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Query{}, api.FieldErrorf("query", "%v", err)
	}
	for name, v := range values {
		if !slices.Contains(known, name) {
			return Query{}, api.UnknownField(name, known)
		}
		if len(v) > 1 && name != "cmd" && name != "label" {
			return Query{}, api.FieldErrorf(name, "is given %d times: give it once", len(v))
		}
	}
	return Query{Values: values}, nil
}

func (q *Query) Text(name string) string { return q.Values.Get(name) }

// Labels reads the conditions of ?label=, which may be repeated.
func (q *Query) Labels() []api.Constraint {
	cs, err := api.ParseLabels("label", q.Values["label"])
	if err != nil {
		q.Fail(err)
	}
	return cs
}

func (q *Query) Has(name string) bool { return q.Values.Has(name) }

func (q *Query) Fail(err error) {
	if q.Err == nil {
		q.Err = err
	}
}

// Flag is true for 1 and true, false for 0, false and nothing.
func (q *Query) Flag(name string) bool {
	s := q.Text(name)
	if s == "" {
		return false
	}
	v, err := strconv.ParseBool(s)
	if err != nil {
		q.Fail(api.FieldErrorf(name, "%q is neither 1 nor 0", s))
	}
	return v
}

// Number is a whole number within lo to hi; missing is what it is if not given.
func (q *Query) Number(name string, missing, lo, hi int) int {
	s := q.Text(name)
	if s == "" {
		return missing
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < lo || n > hi {
		q.Fail(api.FieldErrorf(name, "%q is not a whole number within %d to %d", s, lo, hi))
	}
	return n
}

func (q *Query) Index(name string) uint64 {
	s := q.Text(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		q.Fail(api.FieldErrorf(name, "%q is not an index: give one that an answer had, a number", s))
	}
	return n
}

func (q *Query) Duration(name string, missing, most time.Duration) time.Duration {
	s := q.Text(name)
	if s == "" {
		return missing
	}
	d, err := api.ParseDuration(s)
	if err != nil {
		q.Fail(api.InField(name, err))
	} else if d < 0 || time.Duration(d) > most {
		q.Fail(api.FieldErrorf(name, "%s is not within 0s to %s", s, most))
	}
	return time.Duration(d)
}

// OneOf is one of the words, or "".
func (q *Query) OneOf(name string, words ...string) string {
	s := q.Text(name)
	if s != "" && !slices.Contains(words, s) {
		q.Fail(api.FieldErrorf(name, "%q is none of %s", s, strings.Join(words, ", ")))
	}
	return s
}

// Enum reads a named value into v and reports whether it was given.
func (q *Query) Enum(name string, v encoding.TextUnmarshaler) bool {
	s := q.Text(name)
	if s == "" {
		return false
	}
	if err := v.UnmarshalText([]byte(s)); err != nil {
		q.Fail(api.InField(name, err))
	}
	return true
}
