package keeper_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// rss is the resident memory of the keeper in KiB.
func (r *rig) rss() int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.keeperPID()))
	if err != nil {
		r.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	n, _ := strconv.Atoi(strings.Fields(rest)[0])
	return n
}

func (r *rig) keeperCPU() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.keeperPID()))
	if err != nil {
		r.Fatal(err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
	user, _ := strconv.Atoi(f[11])
	sys, _ := strconv.Atoi(f[12])
	return time.Duration(user+sys) * 10 * time.Millisecond
}

func TestMemoryPerTask(t *testing.T) {
	r := newRig(t)
	c := r.client()
	c.start("a.0/1", "/bin/sleep", "1000")
	before := r.rss()
	const n = 100
	for i := 1; i <= n; i++ {
		c.start(fmt.Sprintf("a.%d/1", i), "/bin/sleep", "1000")
	}
	per := (r.rss() - before) / n
	t.Logf("keeper: %d KiB with one task, %d KiB more for each", before, per)
	if per > 512 {
		t.Errorf("%d KiB for each running task, want at most 512", per)
	}
}

// BenchmarkStartExit is the cost of one /bin/true with a thousand in flight.
func BenchmarkStartExit(b *testing.B) {
	r := newRig(b)
	c := r.client()
	c.start("w.0/1", "/bin/true")
	c.exit("w.0/1")
	b.ResetTimer()
	cpu := r.keeperCPU()
	var wg sync.WaitGroup
	lanes := make(chan struct{}, 64)
	for i := range b.N {
		lanes <- struct{}{}
		wg.Go(func() {
			c.start(fmt.Sprintf("b.%d/1", i), "/bin/true")
			<-lanes
		})
	}
	wg.Wait()
	r.until("all end", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.events) == b.N+1
	})
	b.StopTimer()
	b.ReportMetric(float64((r.keeperCPU()-cpu).Microseconds())/float64(b.N), "keeper-µs/op")
}
