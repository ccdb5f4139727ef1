package trace

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
)

// Bounds of a trace file.
const (
	MaxRows    = 2_000_000
	maxLine    = 64 << 10
	maxColumns = 256
)

// table reads the lines of a CSV file whose cells have names.
type table struct {
	name  string
	lines *bufio.Scanner
	line  int
	rows  int
	at    map[string]int // our name of a column → its place
	named map[string]string
	width int
	cells []string

	spaces bool // cells are between spaces, and comments begin with a semicolon
}

// newTable reads the header, or takes the layout's own where files have none.
func newTable(name string, r io.Reader, l layout, m Mapping) (*table, error) {
	t := &table{name: name, lines: bufio.NewScanner(r), at: map[string]int{}, named: map[string]string{}, spaces: l.spaces}
	t.lines.Buffer(make([]byte, 4096), maxLine)
	header := l.fixed
	if header == nil {
		if ok, err := t.read(); err != nil {
			return nil, err
		} else if !ok {
			return nil, api.FieldErrorf(name, "is empty: the first line names the columns, such as %s", strings.Join(l.required, ","))
		}
		header = t.cells
	}
	theirs := map[string]string{} // their name → ours
	for _, ours := range l.known {
		theirs[ours] = ours
	}
	for ours, their := range m.Columns {
		if l.fixed != nil {
			break // which its reader takes by itself
		}
		delete(theirs, ours)
		theirs[their] = ours
		t.named[ours] = their
	}
	t.width = len(header)
	return t, t.place(header, theirs, l)
}

func (t *table) place(header []string, theirs map[string]string, l layout) error {
	for i, h := range header {
		h = strings.TrimSpace(strings.TrimPrefix(h, "\ufeff"))
		ours, ok := theirs[h]
		if !ok {
			if l.strict {
				return t.errorf("", "%s", unknownColumn(h, l.known))
			}
			continue
		}
		if _, twice := t.at[ours]; twice {
			return t.errorf(h, "is there twice")
		}
		t.at[ours] = i
	}
	for _, ours := range l.required {
		_, ok := t.at[ours]
		if _, whole := t.at[l.instead[ours]]; !ok && !whole {
			return t.errorf(t.their(ours), "is missing in the header: %s", l.missing)
		}
	}
	return nil
}

func unknownColumn(h string, known []string) string {
	text := fmt.Sprintf("column %q is unknown", h)
	if near := api.Nearest(h, known); near != "" {
		return text + ": did you mean " + near + "?"
	}
	return text + ": use " + strings.Join(known, ", ") + ", or map it with trace.columns in the cluster file"
}

// their is the file's own name of a column.
func (t *table) their(ours string) string {
	if n := t.named[ours]; n != "" {
		return n
	}
	return ours
}

// next reads the next line that is not empty.
func (t *table) next() (bool, error) {
	ok, err := t.read()
	if err != nil || !ok {
		return false, err
	}
	if len(t.cells) != t.width {
		return false, t.errorf("", "has %d cells, and the header %d: quote cells with commas in them", len(t.cells), t.width)
	}
	if t.rows++; t.rows > MaxRows {
		return false, t.errorf("", "the trace has more than %s: simulate a part of it", api.Count(MaxRows, "line"))
	}
	return true, nil
}

// each calls line for every line that is not empty, until one is refused.
func (t *table) each(line func() error) error {
	for {
		if ok, err := t.next(); err != nil || !ok {
			return err
		}
		if err := line(); err != nil {
			return err
		}
	}
}

func (t *table) read() (bool, error) {
	for t.lines.Scan() {
		t.line++
		text := strings.TrimSuffix(t.lines.Text(), "\r")
		if strings.TrimSpace(text) == "" || text[0] == '#' || t.spaces && text[0] == ';' {
			continue
		}
		return true, t.split(text)
	}
	switch err := t.lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		t.line++
		return false, t.errorf("", "is longer than %s: is this a CSV file?", api.Bytes(maxLine))
	case err != nil:
		return false, api.FieldErrorf(t.name, "%v", err)
	}
	return false, nil
}

func (t *table) split(text string) error {
	if t.spaces {
		t.cells = strings.Fields(text)
	} else if !strings.Contains(text, `"`) {
		t.cells = strings.SplitN(text, ",", maxColumns+1)
	} else {
		r := csv.NewReader(strings.NewReader(text))
		cells, err := r.Read()
		if err != nil {
			return t.errorf("", "%v: quote a cell as \"a, b\" and double quotes in it", err)
		}
		t.cells = cells
	}
	if len(t.cells) > maxColumns {
		return t.errorf("", "has more than %d columns", maxColumns)
	}
	return nil
}

// row is the number of the line that was read among those with data, from 0 on.
func (t *table) row() int { return t.rows - 1 }

// get is the cell of that column, "" if the file has none.
func (t *table) get(column string) string {
	if i, ok := t.at[column]; ok {
		return strings.TrimSpace(t.cells[i])
	}
	return ""
}

// unfold puts the fields of a cell that is a struct in columns of their own, named
// a.b: written as JSON, or as Python prints it. None and an empty cell have none.
func (t *table) unfold(column string, fields ...string) error {
	i, ok := t.at[column]
	if !ok {
		return nil
	}
	text := strings.TrimSpace(t.cells[i])
	if text == "None" || text == "null" {
		text = ""
	}
	values := map[string]*float64{}
	if text != "" {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "'", `"`), "None", "null")
		if err := json.Unmarshal([]byte(text), &values); err != nil {
			return t.errorf(column, `%q is not a struct of numbers, such as {"%s": 0.1}`, t.cells[i], fields[0])
		}
	}
	for _, f := range fields {
		cell := ""
		if v := values[f]; v != nil {
			cell = strconv.FormatFloat(*v, 'g', -1, 64)
		}
		t.at[column+"."+f] = len(t.cells)
		t.cells = append(t.cells, cell)
	}
	return nil
}

// errorf is an error that names the file, the line and the column.
func (t *table) errorf(column, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if column != "" {
		text = "column " + t.their(column) + ": " + text
	}
	return api.FieldErrorf(fmt.Sprintf("%s:%d", t.name, max(t.line, 1)), "%s", text)
}

func asError(err error, e **api.Error) bool { return errors.As(err, e) }

// message is the text of an error without the field that it names.
func message(err error) string {
	var e *api.Error
	if asError(err, &e) {
		return e.Message
	}
	return err.Error()
}
