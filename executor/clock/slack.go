package clock

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// UsualSlack is the kernel's, and what tasks are to have.
	UsualSlack = 50 * time.Microsecond

	// IdleSlack is that of a process that mostly waits. The runtime waits for a
	// timer in whole milliseconds, rounded down: it wakes before the time, waits
	// one more, and its monitor looks for the late timer every few microseconds
	// meanwhile. A wait that may end a millisecond late is one that ends once.
	IdleSlack = time.Millisecond
)

// SetSlack lets the kernel end what this process sleeps and waits up to d later
// than asked for. What it starts inherits that. To change it for the threads that
// are there asks for the right to set their priority.
func SetSlack(d time.Duration) error {
	set := map[string]bool{}
	for more := true; more; { // a thread that starts meanwhile may have that of before
		more = false
		threads, err := filepath.Glob("/proc/self/task/*")
		if err != nil {
			return err
		}
		for _, t := range threads {
			id := filepath.Base(t)
			if set[id] {
				continue
			}
			set[id], more = true, true
			err := os.WriteFile("/proc/"+id+"/timerslack_ns", []byte(strconv.FormatInt(d.Nanoseconds(), 10)), 0)
			if err != nil && !os.IsNotExist(err) { // or it is over
				return fmt.Errorf("let the timers of thread %s be late by %v: %w", id, d, err)
			}
		}
	}
	return nil
}
