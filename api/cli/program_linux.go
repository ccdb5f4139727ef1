package cli

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// dropWaits lie between what is dropped: after the first, a process that lives on
// has done what only a start needs. The last is for good.
var dropWaits = [...]time.Duration{5 * time.Second, 15 * time.Second, 45 * time.Second, 10 * time.Minute}

// dropIdle unmaps, some seconds from now and then ever less often, the pages of
// the program's file, of which a start touches most, work many, and an idle node
// few. They stay in the page cache, from which what is used is mapped again: that
// is half a millisecond each time.
func dropIdle(drop func()) { dropAfter(0, drop) }

func dropAfter(wait int, drop func()) {
	time.AfterFunc(dropWaits[wait], func() {
		drop()
		dropAfter(min(wait+1, len(dropWaits)-1), drop)
	})
}

// dropProgram unmaps the code and constants of the program from memory. What
// can be written is left.
func dropProgram() {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return // it is memory that is not saved
	}
	defer f.Close()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		var perm string
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &perm); n != 3 || perm[1] == 'w' || !strings.HasSuffix(lines.Text(), " "+exe) {
			continue
		}
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED) // no slice of ours: it is not memory of the Go heap
	}
}
