package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Half of the program at least is not needed once it was started, and this continues
// with what is.
func TestTheProgramGivesBackWhatItsStartNeeded(t *testing.T) {
	before := mapped(t)
	dropProgram()
	if after := mapped(t); after > before/2 {
		t.Errorf("%d kB of the program's file are mapped, and were %d", after, before)
	}
}

// What an idle process has mapped is dropped when its start is over, again soon
// after it, and then seldom.
func TestTheProgramIsGivenBackEverLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at []time.Duration
		dropIdle(func() { at = append(at, time.Since(begin)) })
		time.Sleep(time.Hour)
		synctest.Wait()
		want := []time.Duration{5 * time.Second, 20 * time.Second, 65 * time.Second, 665 * time.Second, 1265 * time.Second}
		if len(at) != 8 || !slices.Equal(at[:5], want) {
			t.Errorf("dropped at %v, want %v and every ten minutes", at, want)
		}
	})
}

// mapped is how much of files is mapped into this process, in kB.
func mapped(t *testing.T) (kB int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "RssFile:")
	if _, err := fmt.Sscan(rest, &kB); err != nil {
		t.Fatal(err)
	}
	return kB
}
