package exchange

import (
	"cmp"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

// PageRows is how many rows an answer has if nobody says.
const PageRows = 1000

// PageHelp says what the parameters of all lists mean.
var PageHelp = map[string]string{
	"limit":  fmt.Sprintf("how many rows at most: 1 to %d, or %d with sort, %d if it is not given; total is how many there are, and next the cursor of those that follow", api.MaxRows, api.MaxSorted, PageRows),
	"cursor": "continue after the answer that had this as next",
	"sort":   "the field to sort by, with - before it the other way round; a field of a row that is a name, a number or a time",
	"fields": "only these fields of each row, with commas",
}

// Keyed is the order in which a list comes: the key of a row is a text that is
// greater than that of the row before. A page ends at one, so that the next continues
// there even if the row is gone by then.
func Keyed[T any](key func(T) string) func(row any) string {
	return func(row any) string { return key(row.(T)) }
}

// Many is rows that differ in little more than their keys, which need not be made
// to be counted. With Whole they are told as the one row that it makes.
type Many struct {
	N     int
	Row   func(i int) any
	Whole func() any
}

// Params are the query parameters that the route takes.
func (r *Route) Params() []string {
	t := reflect.TypeOf(r.Answer)
	switch {
	case r.Key != nil:
		return append(r.Query[:len(r.Query):len(r.Query)], "limit", "cursor", "sort", "fields")
	case r.Method == "GET" && t != nil && t.Kind() == reflect.Slice && !r.Raw:
		return append(r.Query[:len(r.Query):len(r.Query)], "fields")
	}
	return r.Query
}

// page is which part of a list is wanted, and of each row what.
type page struct {
	limit  int
	sort   string
	down   bool
	after  *mark
	fields []string
}

// mark is a place in a list: that of its row, also if the row is gone.
type mark struct {
	Sort  string `json:"s,omitempty"` // what the list is sorted by, as it was asked for
	Value string `json:"v,omitempty"` // of the row, see sortValue
	Key   string `json:"k"`
}

func (m *mark) text() string {
	b, _ := json.Marshal(m) // strings alone
	return base64.RawURLEncoding.EncodeToString(b)
}

func (c *Call) readQuery() (err error) {
	c.event = c.Store.View().LastEvent()
	if c.Query, err = parseQuery(c.R, c.Route.Params()); err == nil {
		c.page, err = c.readPage()
	}
	return err
}

// readPage reads the parameters that all lists have.
func (c *Call) readPage() (*page, error) {
	q, p := &c.Query, &page{limit: math.MaxInt}
	t := reflect.TypeOf(c.Route.Answer)
	if t == nil || t.Kind() != reflect.Slice {
		return p, nil
	}
	if s := q.Text("fields"); s != "" || q.Has("fields") {
		p.fields = strings.Split(s, ",")
		known := api.FieldNames(t.Elem())
		for _, f := range p.fields {
			if !slices.Contains(known, f) {
				return nil, api.InField("fields", api.UnknownField(f, known))
			}
		}
	}
	if c.Route.Key == nil {
		return p, nil
	}
	p.sort = q.Text("sort")
	p.limit = q.Number("limit", PageRows, 1, api.MostRows(p.sort))
	name, down := strings.CutPrefix(p.sort, "-")
	if p.down = down; p.sort != "" {
		if err := checkSort(t.Elem(), name); err != nil {
			return nil, err
		}
	}
	if s := q.Text("cursor"); s != "" {
		m, err := readMark(s, p.sort)
		if err != nil {
			return nil, err
		}
		p.after = m
	}
	return p, q.Err
}

// readMark reads what text wrote, for a list that is sorted so.
func readMark(s, sort string) (*mark, error) {
	m := new(mark)
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || json.Unmarshal(b, m) != nil {
		return nil, api.FieldErrorf("cursor", "%q is none: give what an answer had as next, or leave it out", s)
	}
	if m.Sort != sort {
		return nil, api.FieldErrorf("cursor", "is of a list sorted by %q, and this one is by %q: ask for the same list, or leave it out", m.Sort, sort)
	}
	return m, nil
}

// After is the key that a list, which comes in its own order, continues after; ""
// is its beginning. A handler may begin there, and need not.
func (c *Call) After() string {
	if c.page == nil || c.page.after == nil || c.page.sort != "" {
		return ""
	}
	return c.page.after.Key
}

// GoOnAfter has a list that continues after a key continue after another: for one whose rows
// have other keys by now.
func (c *Call) GoOnAfter(key string) {
	if c.After() != "" {
		c.page.after.Key = key
	}
}

func (p *page) compare(a, b *mark) int {
	by := strings.Compare(a.Value, b.Value)
	if p.down {
		by = -by
	}
	return cmp.Or(by, strings.Compare(a.Key, b.Key))
}

// bunch is what a list yields at a time: rows that are made as they are needed.
type bunch struct {
	n      int
	row    func(i int) any
	stands int // for so many does each of them
}

func bunched(item any) bunch {
	switch m, ok := item.(Many); {
	case !ok:
		return bunch{1, func(int) any { return item }, 1}
	case m.Whole != nil:
		return bunch{1, func(int) any { return m.Whole() }, m.N}
	default:
		return bunch{m.N, m.Row, 1}
	}
}

// picked is what a page has of a list.
type picked struct {
	next  string // where the next page begins; "": there is none
	total int    // rows of the list, if this is its first page
}

// pick emits the rows of the page.
func (p *page) pick(l *List, key func(any) string, emit func(any) error) (out picked, err error) {
	if p.sort != "" {
		return p.pickSorted(l, key, emit)
	}
	sent, last := 0, mark{}
	l.Items(func(item any) bool {
		b := bunched(item)
		out.total += b.n * b.stands
		for i := 0; i < b.n; i++ {
			if sent == p.limit {
				out.next = last.text()
				if l.Total != nil && p.after == nil {
					out.total = l.Total()
				}
				return l.Total == nil && p.after == nil // the rest is only counted
			}
			v := b.row(i)
			if key != nil {
				last.Key = key(v)
			}
			if p.after != nil && last.Key <= p.after.Key {
				continue
			}
			if err = emit(v); err != nil {
				return false
			}
			sent++
		}
		return true
	})
	return out, err
}

// spare is how many rows more than a page has are held before those that are
// beyond it are let go of.
const spare = 1024

// row is one of a page that is sorted, with its place.
type row struct {
	mark
	v any
}

// pickSorted holds few rows more than the page has, however long the list is.
func (p *page) pickSorted(l *List, key func(any) string, emit func(any) error) (out picked, err error) {
	by := sorter{name: strings.TrimPrefix(p.sort, "-")}
	var best []row
	more := false
	keep := func() {
		slices.SortFunc(best, func(a, b row) int { return p.compare(&a.mark, &b.mark) })
		if len(best) > p.limit {
			clear(best[p.limit:])
			best, more = best[:p.limit], true
		}
	}
	l.Items(func(item any) bool {
		b := bunched(item)
		out.total += b.n * b.stands
		for i := range b.n {
			v := b.row(i)
			m := mark{Sort: p.sort, Value: by.value(v), Key: key(v)}
			if p.after != nil && p.compare(p.after, &m) >= 0 {
				continue
			}
			if best = append(best, row{m, v}); len(best) >= 2*p.limit+spare {
				keep()
			}
		}
		return true
	})
	keep()
	for i := range best {
		if err := emit(best[i].v); err != nil {
			return out, err
		}
	}
	if more {
		out.next = best[len(best)-1].text()
	}
	return out, nil
}

var (
	timeType  = reflect.TypeFor[time.Time]()
	plainText = reflect.TypeFor[encoding.TextMarshaler]()
)

// Cursor continues after a key, in the list's own order.
func Cursor(key string) string { return (&mark{Key: key}).text() }

// CheckSort says why the rows of a list cannot be sorted by that field.
func CheckSort(r *Route, name string) error { return checkSort(reflect.TypeOf(r.Answer).Elem(), name) }

// fieldOf finds the field with that JSON name, of the struct or one in it.
func fieldOf(t reflect.Type, name string) (reflect.StructField, bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	for _, f := range reflect.VisibleFields(t) {
		if n, _, _ := strings.Cut(f.Tag.Get("json"), ","); n == name && f.IsExported() {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func checkSort(t reflect.Type, name string) error {
	f, ok := fieldOf(t, name)
	if !ok {
		return api.InField("sort", api.UnknownField(name, api.FieldNames(t)))
	}
	ft := f.Type
	for ft.Kind() == reflect.Pointer {
		ft = ft.Elem()
	}
	switch k := ft.Kind(); {
	case ft == timeType, k == reflect.String, k == reflect.Bool, k >= reflect.Int && k <= reflect.Uint64, k == reflect.Float32, k == reflect.Float64:
		return nil
	}
	return api.FieldErrorf("sort", "%s is not a single value: sort by a name, a number or a time", name)
}

// sorter reads one field of rows, which are all of a few types.
type sorter struct {
	name  string
	of    reflect.Type
	index []int
}

// value is a text that orders a row by the field: times and numbers in their
// order, states by name.
func (s *sorter) value(row any) string {
	v := reflect.ValueOf(row)
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if s.of != v.Type() {
		f, _ := fieldOf(v.Type(), s.name)
		s.of, s.index = v.Type(), f.Index
	}
	v, err := v.FieldByIndexErr(s.index)
	for err == nil && v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if err != nil || v.Kind() == reflect.Pointer {
		return ""
	}
	if v.Type() == timeType {
		return v.Interface().(time.Time).UTC().Format("2006-01-02T15:04:05.000000000")
	}
	if v.Kind() == reflect.Uint8 && v.Type().Implements(plainText) {
		b, _ := v.Interface().(encoding.TextMarshaler).MarshalText() // one that is unknown has a number for a name
		return string(b)
	}
	return plainValue(v)
}

func plainValue(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.String:
		return v.String()
	case v.Kind() == reflect.Bool:
		return fmt.Sprint(v.Bool()) // false before true
	case v.CanInt():
		return fmt.Sprintf("%020d", uint64(v.Int())^1<<63)
	case v.CanUint():
		return fmt.Sprintf("%020d", v.Uint())
	case v.CanFloat():
		bits := math.Float64bits(v.Float())
		if bits>>63 == 0 {
			return fmt.Sprintf("%020d", bits|1<<63)
		}
		return fmt.Sprintf("%020d", ^bits)
	}
	return ""
}

// Shows reports whether the caller wants that field of the rows.
func (c *Call) Shows(field string) bool {
	return c.page == nil || c.page.fields == nil || slices.Contains(c.page.fields, field)
}

// row encodes what is wanted of a row.
func (c *Call) row(e *Encoder, v any) error {
	begin := e.Len()
	if err := e.JSON.Encode(v); err != nil {
		return err
	}
	e.Truncate(e.Len() - 1) // the encoder's line end
	if c.page == nil || c.page.fields == nil {
		return nil
	}
	b, err := project(e.Bytes()[begin:], c.page.fields)
	if err != nil {
		return err
	}
	e.Truncate(begin)
	e.Write(b)
	return nil
}

// project is a row with those fields alone, in the order in which they were asked
// for. A field that the row leaves out is left out.
func project(b []byte, fields []string) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	out := []byte{'{'}
	for _, f := range fields {
		v, ok := all[f]
		if !ok {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, '"')
		out = append(out, f...)
		out = append(out, '"', ':')
		out = append(out, v...)
	}
	return append(out, '}'), nil
}
