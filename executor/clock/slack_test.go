package clock

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// slacks are those of the threads of this process.
func slacks(t *testing.T) []string {
	t.Helper()
	threads, err := filepath.Glob("/proc/self/task/*")
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads: %v, %v", threads, err)
	}
	var out []string
	for _, th := range threads {
		b, err := os.ReadFile("/proc/" + filepath.Base(th) + "/timerslack_ns")
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.TrimSpace(string(b)))
	}
	return out
}

// The slack is that of all threads, and of those that start later.
func TestSlackIsThatOfAllThreads(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may change that of the threads that are there")
	}
	for _, want := range []struct {
		d    time.Duration
		text string
	}{{IdleSlack, "1000000"}, {UsualSlack, "50000"}} {
		if err := SetSlack(want.d); err != nil {
			t.Fatal(err)
		}
		begun, end := make(chan struct{}), make(chan struct{})
		for range 4 {
			go func() {
				runtime.LockOSThread() // a thread of its own
				begun <- struct{}{}
				<-end
			}()
			<-begun
		}
		for _, got := range slacks(t) {
			if got != want.text {
				t.Errorf("a thread has a slack of %s ns, want %s", got, want.text)
			}
		}
		close(end)
	}
}
