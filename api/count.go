package api

import (
	"fmt"
	"strings"
)

// Count says how many there are of something: "1 task", "2 tasks". What it is
// called is given in the singular.
func Count[N ~int | ~int64 | ~uint64](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if stem, ok := strings.CutSuffix(one, "ry"); ok { // entry
		return fmt.Sprintf("%d %sries", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// amount says how much there is of a resource: "1 cpu", "0.5 cpus", "64MiB mem".
func amount(n, resource string) string {
	if n == "1" && (resource == "cpus" || resource == "gpus") {
		resource = strings.TrimSuffix(resource, "s")
	}
	return n + " " + resource
}

// AmountText says how much v is of a resource.
func AmountText(resource string, v int64) string { return amount(FormatAmount(resource, v), resource) }

// MaxRows is the most rows of a list that may be asked for at a time: all of
// them, as they were at one time.
const MaxRows = 1_000_000

// MaxSorted is MaxRows for a list that is sorted: all rows of the answer are held
// until the last was looked at.
const MaxSorted = 10_000

// MostRows is the most rows that may be asked for at a time of a list that is
// sorted by that field, "" = comes in its own order.
func MostRows(sort string) int {
	if sort != "" {
		return MaxSorted
	}
	return MaxRows
}
