package server

import (
	"testing"
	"time"
)

// However long ago they began, all feeds look at the same moments.
func TestFeedsLookAtTheSameMoments(t *testing.T) {
	now := time.Date(2026, 11, 28, 9, 30, 0, 0, time.UTC)
	moment := now.Add(untilCheck(now))
	for d := time.Duration(0); d < feedCheck; d += 13 * time.Millisecond {
		if at := now.Add(d).Add(untilCheck(now.Add(d))); !at.Equal(moment) {
			t.Errorf("a feed that looks at %v looks again at %v, another at %v", now.Add(d), at, moment)
		}
	}
	if wait := untilCheck(moment); wait != feedCheck {
		t.Errorf("after a look the next is %v later, want %v", wait, feedCheck)
	}
}
