package api

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// version is the numbers of a text such as 6.1.0 or v6.1.0-13-amd64, and what is behind
// them; no numbers if it is not a version.
func version(s string) (numbers, rest string) {
	s = strings.TrimPrefix(s, "v")
	at := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if at < 0 {
		at = len(s)
	}
	numbers, rest = s[:at], s[at:]
	dots := strings.Contains(numbers, ".")
	switch {
	case numbers == "" || numbers[0] == '.' || numbers[at-1] == '.' || strings.Contains(numbers, ".."):
		return "", s
	case rest != "" && (!dots || !strings.Contains("-+~", rest[:1])): // 2026-01-15 is a date
		return "", s
	}
	return numbers, rest
}

// compareVersions compares part by part: 1.10 is above 1.9, and 6 is 6.0.
func compareVersions(a, b string) int {
	for a != "" || b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		if order := cmp.Or(len(x)-len(y), strings.Compare(x, y)); order != 0 {
			return order
		}
	}
	return 0
}

// order is how the value of an attribute compares with that of c.
func (c Constraint) order(v string) (order int, ok bool) {
	if c.ByVersion {
		a, _ := version(v)
		b, _ := version(c.Value)
		if a != "" && b != "" && strings.Contains(a+b, ".") {
			return compareVersions(a, b), true
		}
	}
	x, err1 := strconv.ParseFloat(v, 64)
	y, err2 := strconv.ParseFloat(c.Value, 64)
	if err1 != nil || err2 != nil || x != x || y != y {
		return 0, false
	}
	return cmp.Compare(x, y), true
}

// compares reports whether its operator asks which of two is larger.
func (c Constraint) compares() bool { return c.Op != "=" && c.Op != "!=" }

// MarkVersions has conditions compare as versions whose values read as such. One that
// was there before, written alike, keeps its meaning. Where not all programs know
// versions, what is a number stays one.
func MarkVersions(cs, before []Constraint, known bool) []Constraint {
	out := slices.Clone(cs)
	for i := range out {
		c := &out[i]
		numbers, rest := version(c.Value)
		c.ByVersion = c.compares() && numbers != "" && rest == ""
		if _, err := strconv.ParseFloat(c.Value, 64); err == nil && !known {
			c.ByVersion = false
		}
		if j := slices.IndexFunc(before, func(b Constraint) bool { return b.Attr == c.Attr && b.Op == c.Op && b.Value == c.Value }); j >= 0 {
			c.ByVersion = before[j].ByVersion
		}
	}
	return out
}
