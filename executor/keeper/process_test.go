package keeper

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

func threads(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "\nThreads:")
	n, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A disk that hangs takes a bounded number of a keeper's threads, however many
// tasks write: Go's runtime ends a program that has too many.
func TestAHungDiskTakesFewThreads(t *testing.T) {
	const writers = 8 * diskWrites
	s := &server{disk: make(chan struct{}, diskWrites)}
	var hung [2]int
	if err := unix.Pipe(hung[:]); err != nil {
		t.Fatal(err)
	}
	before := threads(t)
	var come, in atomic.Int32
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			come.Add(1)
			err := s.onDisk(func() error {
				in.Add(1)
				_, err := unix.Read(hung[0], make([]byte, 1))
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for come.Load() < writers || in.Load() < diskWrites {
		runtime.Gosched()
	}
	if got := threads(t) - before; got > 2*diskWrites {
		t.Errorf("%d writers wait in %d threads", writers, got)
	}
	if err := unix.Close(hung[1]); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if err := unix.Close(hung[0]); err != nil || in.Load() != writers {
		t.Errorf("%v; %d of %d wrote once the disk answered", err, in.Load(), writers)
	}
}
