package api

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// Range is the whole numbers from First to Last, both included.
type Range struct {
	First int64 `json:"first"`
	Last  int64 `json:"last"`
}

// Ranges is a set of whole numbers, as sorted ranges that neither touch nor
// overlap. In JSON it is a string such as "80,20000-20999".
type Ranges []Range

// maxRanges bounds the pieces of one set, maxNumber the numbers in it, so that
// counting them cannot overflow.
const (
	maxRanges = 4096
	maxNumber = 1 << 53
)

// ParseRanges reads "80,20000-20999".
func ParseRanges(s string) (Ranges, error) {
	s = strings.Trim(strings.TrimSpace(s), "[]")
	if s == "" {
		return nil, nil
	}
	parts := strings.Split(s, ",")
	if len(parts) > maxRanges {
		return nil, Errorf(CodeInvalid, "%d ranges, at most %d are allowed", len(parts), maxRanges)
	}
	var out Ranges
	for _, p := range parts {
		a, b, two := strings.Cut(strings.TrimSpace(p), "-")
		first, err := strconv.ParseInt(a, 10, 64)
		last := first
		if err == nil && two {
			last, err = strconv.ParseInt(b, 10, 64)
		}
		if err != nil || first < 0 || last < first || last > maxNumber {
			return nil, Errorf(CodeInvalid, "%q is not a range: write 80 or 20000-20999", p)
		}
		out = append(out, Range{first, last})
	}
	return out.normal(), nil
}

// normal sorts and joins.
func (r Ranges) normal() Ranges {
	slices.SortFunc(r, func(a, b Range) int { return int(min(max(a.First-b.First, -1), 1)) })
	var out Ranges
	for _, x := range r {
		if n := len(out); n > 0 && x.First <= out[n-1].Last+1 {
			out[n-1].Last = max(out[n-1].Last, x.Last)
			continue
		}
		out = append(out, x)
	}
	return out
}

func (r Ranges) String() string {
	var b strings.Builder
	for i, x := range r {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(x.First, 10))
		if x.Last != x.First {
			b.WriteByte('-')
			b.WriteString(strconv.FormatInt(x.Last, 10))
		}
	}
	return b.String()
}

// MarshalJSON writes a string such as "80,20000-20999".
func (r Ranges) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// UnmarshalJSON reads such a string.
func (r *Ranges) UnmarshalJSON(b []byte) error {
	v, err := ParseRanges(unquote(b))
	if err != nil {
		return err
	}
	*r = v
	return nil
}

// Count is how many numbers are in the set.
func (r Ranges) Count() int64 {
	var n int64
	for _, x := range r {
		n += x.Last - x.First + 1
	}
	return n
}

// Has reports whether v is in the set.
func (r Ranges) Has(v int64) bool {
	return slices.ContainsFunc(r, func(x Range) bool { return x.First <= v && v <= x.Last })
}

// Union is every number that is in r or in s.
func (r Ranges) Union(s Ranges) Ranges {
	return append(slices.Clone(r), s...).normal()
}

// Minus is every number in r that is not in s.
func (r Ranges) Minus(s Ranges) Ranges {
	if len(s) == 0 {
		return r
	}
	out := slices.Clone(r)
	for _, cut := range s {
		var next Ranges
		for _, x := range out {
			if cut.Last < x.First || cut.First > x.Last {
				next = append(next, x)
				continue
			}
			if x.First < cut.First {
				next = append(next, Range{x.First, cut.First - 1})
			}
			if x.Last > cut.Last {
				next = append(next, Range{cut.Last + 1, x.Last})
			}
		}
		out = next
	}
	return out
}

// Contains reports whether every number of s is in r.
func (r Ranges) Contains(s Ranges) bool { return len(s.Minus(r)) == 0 }
