package api

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// MilliCPU is processor time in thousandths of a core. In JSON and YAML it is
// a number of cores: 0.25 is MilliCPU(250).
type MilliCPU int64

// Cores returns the value as a number of cores.
func (c MilliCPU) Cores() float64 { return float64(c) / 1000 }

func (c MilliCPU) String() string { return strconv.FormatFloat(c.Cores(), 'f', -1, 64) }

// MarshalJSON writes a number of cores.
func (c MilliCPU) MarshalJSON() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalJSON reads a number of cores, or a string with one.
func (c *MilliCPU) UnmarshalJSON(b []byte) error {
	v, err := ParseCPU(unquote(b))
	if err != nil {
		return err
	}
	*c = v
	return nil
}

// maxCPUs bounds what one request or one node may name, far above any machine,
// so that sums over a cluster cannot overflow.
const maxCPUs = 1 << 20

// ParseCPU reads a number of cores such as "0.25", "4" or "250m".
func ParseCPU(s string) (MilliCPU, error) {
	t, scale := s, 1000.0
	if n, ok := strings.CutSuffix(s, "m"); ok {
		t, scale = n, 1
	}
	f, err := strconv.ParseFloat(t, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, Errorf(CodeInvalid, "%q is not a number of cores: write 0.25, 2 or 250m", s)
	}
	milli := math.Round(f * scale)
	if math.Abs(milli) > maxCPUs*1000 {
		return 0, Errorf(CodeInvalid, "%q cores is more than mesita counts (%d)", s, maxCPUs)
	}
	if milli == 0 && f != 0 {
		return 0, Errorf(CodeInvalid, "%q cores is below the smallest step, 0.001", s)
	}
	return MilliCPU(milli), nil
}

// Bytes is an amount of memory or disk. In JSON it is a number of bytes;
// strings with a unit ("128MiB", "2GB") are read too.
type Bytes int64

var byteUnits = []struct {
	name string
	size float64
}{
	{"PiB", 1 << 50}, {"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"PB", 1e15}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3},
	{"P", 1 << 50}, {"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"k", 1 << 10},
	{"B", 1},
}

// String is the shortest form with a binary unit, such as 128MiB or 1.5GiB.
func (b Bytes) String() string {
	for _, u := range byteUnits[:5] {
		if math.Abs(float64(b)) >= u.size {
			return strconv.FormatFloat(math.Round(float64(b)/u.size*10)/10, 'f', -1, 64) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// Exact is the form with the largest binary unit of which it is a whole number:
// what ParseBytes reads as the same.
func (b Bytes) Exact() string {
	for _, u := range byteUnits[:5] {
		if b != 0 && b%Bytes(u.size) == 0 {
			return strconv.FormatInt(int64(b)/int64(u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// apart are two amounts as short as may be, but not alike unless they are.
func apart(a, b Bytes) (string, string) {
	if x, y := a.String(), b.String(); a == b || x != y {
		return x, y
	}
	return a.Exact(), b.Exact()
}

// UnmarshalJSON reads a number of bytes or a string with a unit.
func (b *Bytes) UnmarshalJSON(data []byte) error {
	v, err := ParseBytes(unquote(data))
	if err != nil {
		return err
	}
	*b = v
	return nil
}

const maxBytes = 1 << 55

// ParseBytes reads an amount such as "128MiB", "2GB", "1.5GiB" or "4096".
func ParseBytes(s string) (Bytes, error) {
	num, size := s, 1.0
	for _, u := range byteUnits {
		if n, ok := strings.CutSuffix(s, u.name); ok {
			num, size = strings.TrimSpace(n), u.size
			break
		}
	}
	f, err := strconv.ParseFloat(num, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, Errorf(CodeInvalid, "%q is not an amount of bytes: write 128MiB, 2GiB or 4096", s)
	}
	if math.Abs(f*size) > maxBytes {
		return 0, Errorf(CodeInvalid, "%q is more than mesita counts (%s)", s, Bytes(maxBytes))
	}
	return Bytes(math.Round(f * size)), nil
}

// Duration is a span of time; in JSON it is a string such as "10s" or "1h30m".
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes a string such as "10s".
func (d Duration) MarshalJSON() ([]byte, error) { return strconv.AppendQuote(nil, d.String()), nil }

// UnmarshalJSON reads a string such as "10s", or a number of seconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	v, err := ParseDuration(unquote(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// ParseDuration reads "10s", "20m", "1h30m", "7d" or a bare number of seconds.
func ParseDuration(s string) (Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.ParseFloat(n, 64); err == nil && math.Abs(days) < 36500 {
			return Duration(days * 24 * float64(time.Hour)), nil
		}
	}
	if sec, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(sec) < 3e9 {
		return Duration(sec * float64(time.Second)), nil
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		number := strings.TrimRight(s, "smhd")
		if _, err := strconv.ParseFloat(number, 64); len(s)-len(number) <= 1 && (err == nil || errors.Is(err, strconv.ErrRange)) {
			return 0, Errorf(CodeInvalid, "%q is longer than mesita counts", s)
		}
		return 0, Errorf(CodeInvalid, "%q is not a duration: write 10s, 20m, 1h30m or 7d", s)
	}
	return Duration(v), nil
}

// ParseSpan is ParseDuration of what a person types: 10 may be meant to be minutes.
func ParseSpan(s string) (Duration, error) {
	if n, err := strconv.ParseFloat(s, 64); err == nil && n != 0 {
		return 0, Errorf(CodeInvalid, "%[1]q needs a unit: write %[1]ss, %[1]sm, %[1]sh or %[1]sd", s)
	}
	return ParseDuration(s)
}

// ParseWhen reads a point in time: one as in RFC 3339, the day that begins then in
// UTC, or how long ago it was, such as 2h or 7d.
func ParseWhen(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	d, err := ParseDuration(s)
	if err != nil || d < 0 {
		return time.Time{}, Errorf(CodeInvalid, "%q is not a point in time: write how long ago, such as 2h or 7d, a day such as 2026-11-30, or a time such as %s", s, now.UTC().Format(time.RFC3339))
	}
	return now.Add(-time.Duration(d)), nil
}

func unquote(b []byte) string {
	var s string
	if len(b) > 0 && b[0] == '"' && json.Unmarshal(b, &s) == nil {
		return s
	}
	return string(b)
}

// enumText finds the value whose name is text, for the enums' UnmarshalText.
func enumText[E ~uint8](what string, names []string, text []byte) (E, error) {
	for i, n := range names {
		if n == string(text) {
			return E(i), nil
		}
	}
	if string(text) == unknownName {
		return E(unknownEnum), nil
	}
	return 0, &unknownValue{Errorf(CodeInvalid, "unknown %s %q: one of %s", what, text, strings.Join(names, ", "))}
}

func enumString[E ~uint8](names []string, e E) string {
	if int(e) < len(names) {
		return names[e]
	}
	return fmt.Sprintf("unknown(%d)", uint8(e))
}

// unknownEnum is the value that DecodeLenient reads for a name that this
// program does not know.
const unknownEnum = math.MaxUint8

// unknownName stands for it inside of DecodeLenient. It is drawn at random, so
// that nobody can ask for that value from outside.
var unknownName = "unknown " + rand.Text()

// unknownValue is the error of a name that an enum does not have.
type unknownValue struct{ err *Error }

func (e *unknownValue) Error() string { return e.err.Error() }
func (e *unknownValue) Unwrap() error { return e.err }

// CPULimit is a MilliCPU that may also be written "=": as much as is guaranteed.
// Normalize makes a number of that.
type CPULimit MilliCPU

const equalToCPUs CPULimit = math.MaxInt64 // above all that is counted

// ParseCPULimit reads "0.25", "250m" or "=".
func ParseCPULimit(v string) (CPULimit, error) {
	if v == "=" {
		return equalToCPUs, nil
	}
	c, err := ParseCPU(v)
	return CPULimit(c), err
}

// MarshalJSON writes it as a number of cores, or "=".
func (c CPULimit) MarshalJSON() ([]byte, error) {
	if c == equalToCPUs {
		return []byte(`"="`), nil
	}
	return MilliCPU(c).MarshalJSON()
}

// UnmarshalJSON reads what a MilliCPU may be, or "=".
func (c *CPULimit) UnmarshalJSON(b []byte) error {
	if string(b) == `"="` {
		*c = equalToCPUs
		return nil
	}
	return (*MilliCPU)(c).UnmarshalJSON(b)
}
