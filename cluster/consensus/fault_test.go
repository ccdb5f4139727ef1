package consensus

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

// What is told of writes that fail names their cause and nothing that differs from one
// write to the next, lasts through those that succeed in between, and is over some
// time after the last failed. One that does not end is told once it is more than what
// a busy machine has.
func TestWhatIsToldOfALog(t *testing.T) {
	full := func(what string) error {
		return fmt.Errorf("%s: %w", what, &os.PathError{Op: "write", Path: what, Err: syscall.ENOSPC})
	}
	type step struct {
		after time.Duration
		fails error // noted as a failure; nil: none is
		now   error // the state at that time
		want  string
	}
	for name, steps := range map[string][]step{
		"well":           {{0, nil, nil, ""}},
		"full":           {{0, full("the log"), full("the log"), "the disk is full"}, {time.Second, full("the vote"), full("the vote"), "the disk is full"}, {time.Hour, nil, full("the vote"), "the disk is full"}},
		"now and then":   {{0, full("a"), full("a"), "the disk is full"}, {time.Second, nil, nil, "the disk is full"}, {wellAfter - 2*time.Second, full("a"), nil, "the disk is full"}, {wellAfter - 1, nil, nil, "the disk is full"}, {1, nil, nil, ""}},
		"died":           {{0, syscall.EIO, syscall.EIO, "input/output error"}, {wellAfter, nil, nil, ""}},
		"something else": {{0, errors.New("x"), errors.New("x"), "see the log of its daemon"}},
		"hangs":          {{0, errHangs, errHangs, ""}, {hangsLong - 1, nil, errHangs, ""}, {1, nil, errHangs, "the disk hangs"}, {time.Second, nil, nil, ""}},
		"hung shortly":   {{0, errHangs, errHangs, ""}, {time.Second, nil, nil, ""}, {time.Hour, errHangs, errHangs, ""}, {hangsLong, nil, errHangs, "the disk hangs"}},
		"hung, is full":  {{0, errHangs, errHangs, ""}, {time.Second, full("a"), full("a"), "the disk is full"}},
	} {
		var f fault
		now := time.Unix(1_800_000_000, 0)
		for i, s := range steps {
			now = now.Add(s.after)
			if s.fails != nil {
				f.failed(s.fails, now)
			}
			if got := f.text(s.now, now); got != s.want {
				t.Errorf("%s, step %d: %q, not %q", name, i+1, got, s.want)
			}
		}
	}
}
