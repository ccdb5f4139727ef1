//go:build (amd64 || arm64) && !startbythread

package process

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// interpret runs a script. It is never called: a newborn process jumps to a
// copy of it.
//
//lint:ignore U1000 assembly refers to it
func interpret()

// interpretPC returns where interpret is.
func interpretPC() unsafe.Pointer

// clone makes a process by clone3 which continues with code, the address of a
// copy of interpret, at the step first. It returns the PID, or an error number
// as the kernel does. Signals of this thread wait meanwhile, as the kernel
// begins a clone anew for each.
func clone(args unsafe.Pointer, size, code, first, report uintptr) uintptr

// codeSize is more than interpret has; a test looks.
const codeSize = 256

// starter is what all scripts of this process have in common.
type starter struct {
	warn sync.Once

	setup sync.Mutex // guards ready
	ready bool       // the rest is known

	code    int              // a file with a copy of interpret, to map
	pinned  bool             // the kernel writes to each thread's memory, so a copy of it must stay
	ignored []syscall.Signal // what whoever started us ignores
	scored  bool             // whoever started us chose who dies when memory runs out
	own     capabilities     // of ours
	ipc     bool             // there are IPC namespaces
	filter  []byte           // of system calls, as the kernel takes it

	zygotes zygotes
}

type interval struct{ from, to uintptr }

// prepare fails for one start, and not for those after it: there may have been no
// file left for a moment.
func (in *starter) prepare(proc string) error {
	in.setup.Lock()
	defer in.setup.Unlock()
	if in.ready {
		return nil
	}
	in.pinned, in.ipc, in.filter = restartable(), hasIPC(proc), filterCode()
	var cerr, ierr error
	in.own, cerr = ownCapabilities()
	in.ignored, ierr = ignoredSignals(proc)
	for _, err := range []error{cerr, ierr, in.readScore(proc)} {
		if err != nil {
			return err
		}
	}
	if err := in.copyCode(); err != nil {
		return err
	}
	in.ready = true
	return nil
}

func (in *starter) copyCode() error {
	const noexec = 8 // MFD_NOEXEC_SEAL: it is mapped and never executed; Linux 6.3
	fd, err := unix.MemfdCreate("start", unix.MFD_CLOEXEC|noexec)
	if err != nil {
		fd, err = unix.MemfdCreate("start", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return fmt.Errorf("get memory to start with: %w", err)
	}
	b := make([]byte, os.Getpagesize())
	copy(b, unsafe.Slice((*byte)(interpretPC()), codeSize))
	if _, err := unix.Write(fd, b); err != nil {
		return errors.Join(fmt.Errorf("get memory to start with: %w", err), unix.Close(fd))
	}
	in.code = fd
	return nil
}

// memoryMap is what memory there is of ours.
type memoryMap struct {
	special []interval // the kernel's, such as the vdso, which may be sealed
	top     uintptr    // where memory ends
}

// readMaps finds out what memory there is. With leave all of it stays behind at a
// clone that can: neither copying its tables nor our next write to each page
// is cheap, and what a newborn does not have it cannot give away.
func readMaps(proc string, leave bool) (out memoryMap, err error) {
	f, err := os.Open(filepath.Join(proc, "self/maps"))
	if err != nil {
		return out, fmt.Errorf("see our memory: %w", err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		from, to, ok := strings.Cut(fields[0], "-")
		low, err := strconv.ParseUint(from, 16, 64)
		high, herr := strconv.ParseUint(to, 16, 64)
		if !ok || err != nil || herr != nil || len(fields) < 2 {
			return out, fmt.Errorf("see our memory: %q", s.Text())
		}
		if high > 1<<62 {
			continue // the vsyscall page is the kernel's own
		}
		out.top = max(out.top, uintptr(high))
		name := fields[len(fields)-1]
		switch {
		case strings.HasPrefix(name, "[v") || name == "[sigpage]" || name == "[uprobes]":
			out.special = append(out.special, interval{uintptr(low), uintptr(high)})
		case leave && !strings.Contains(fields[1], "x") && !strings.Contains(name, "memfd:"):
			_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, uintptr(low), uintptr(high-low), unix.MADV_DONTFORK) // then it is copied
		}
	}
	if err := s.Err(); err != nil {
		return out, fmt.Errorf("see our memory: %w", err)
	}
	return out, nil
}

func (in *starter) readScore(proc string) error {
	b, err := os.ReadFile(filepath.Join(proc, "self/oom_score_adj"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("see who dies when memory runs out: %w", err)
	}
	in.scored = err == nil && strings.TrimSpace(string(b)) != "0"
	return nil
}

// restartable reports whether threads have restartable sequences, as those of the
// C library do: a program built with cgo. Then the kernel kills a process that
// does not have that memory any more.
func restartable() bool {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const size, unregister, signature = 32, 1, 0x53053053
	b := make([]byte, 2*size)
	area := uintptr(unsafe.Pointer(&b[0]))
	area = (area + size - 1) &^ (size - 1)
	defer runtime.KeepAlive(b)
	_, _, err := unix.RawSyscall6(unix.SYS_RSEQ, area, size, 0, signature, 0, 0)
	if err == 0 {
		_, _, err = unix.RawSyscall6(unix.SYS_RSEQ, area, size, unregister, signature, 0, 0)
		return err != 0
	}
	return err != unix.ENOSYS
}

// gaps are the parts of memory below top that none of the intervals has.
func gaps(top uintptr, kept ...interval) []interval {
	sort.Slice(kept, func(i, j int) bool { return kept[i].from < kept[j].from })
	var out []interval
	from := uintptr(0)
	for _, k := range kept {
		if k.from > from {
			out = append(out, interval{from, k.from})
		}
		from = max(from, k.to)
	}
	if from < top {
		out = append(out, interval{from, top})
	}
	return out
}
