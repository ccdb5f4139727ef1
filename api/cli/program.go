package cli

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// startIsOver is how long after its start a process that lives on has done what
// only a start needs.
const startIsOver = 5 * time.Second

// dropStart unmaps, some seconds from now, the pages of the program's file, of which a
// start touches most and an idle node few. They stay in the page cache, from which
// what is used is mapped again.
func dropStart() { time.AfterFunc(startIsOver, dropProgram) }

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
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED) // no slice of ours: it is no memory of the Go heap
	}
}
