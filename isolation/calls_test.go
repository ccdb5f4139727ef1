package isolation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/isolation/process"
)

// calls are attempts at what the filter of system calls refuses. Those of them
// that need no capability show that it is there.
var calls = map[string]func() error{
	"user namespace": func() error {
		c := exec.Command("/bin/true")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
		return c.Run()
	},
	"namespace by clone3": func() error {
		var a [11]uint64 // struct clone_args
		a[0], a[4] = unix.CLONE_NEWUSER, uint64(unix.SIGCHLD)
		pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a), 0)
		if errno == 0 && pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		return answered(errno)
	},
	"kernel log": func() error { _, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil); return err },
	"key": func() error {
		_, err := unix.AddKey("user", "mesita", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
		return err
	},
	"keyring":          func() error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_PROCESS_KEYRING, true); return err },
	"personality":      func() error { return number(unix.SYS_PERSONALITY, 0x0040000) }, // ADDR_NO_RANDOMIZE
	"ring":             func() error { var p [120]byte; return number(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p))) },
	"program of bpf":   func() error { return bpfMap() },
	"page faults":      func() error { return number(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|1) }, // UFFD_USER_MODE_ONLY
	"counters":         counters,
	"typed for others": typed,
}

// ofMachine are such calls that not all machines have.
var ofMachine = map[string]map[string]func() error{"amd64": {"32-bit program": oldProgram}}

// filteredCalls are all of both.
func filteredCalls() map[string]func() error {
	all := map[string]func() error{}
	if process.CanFilter() == nil {
		maps.Copy(all, calls)
		maps.Copy(all, ofMachine[runtime.GOARCH])
	}
	return all
}

func answered(errno unix.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

func number(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	return answered(errno)
}

// bpfMap makes a table that an array of one number is.
func bpfMap() error {
	a := [12]uint32{2, 4, 4, 1} // BPF_MAP_TYPE_ARRAY, sizes of key and value, entries
	return number(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a))
}

// counters are of this process alone, which needs no right.
func counters() error {
	a := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK, Bits: unix.PerfBitExcludeKernel}
	a.Size = uint32(unsafe.Sizeof(a))
	fd, err := unix.PerfEventOpen(&a, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// typed puts a character into a terminal, as if its user had.
func typed() error {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a terminal: %v", err)
	}
	defer unix.Close(fd)
	c := [1]byte{'x'}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSTI, uintptr(unsafe.Pointer(&c)))
	if errno == unix.EIO { // newer kernels do it for nobody
		return nil
	}
	return answered(errno)
}

// oldProgram is one of 32 bits that ends with code 42: whose calls have numbers of
// their own.
func oldProgram() error {
	code := []byte{0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80} // exit(42)
	const base, head = 0x08048000, 52 + 32
	size := uint32(head + len(code))
	b := append([]byte("\x7fELF\x01\x01\x01"), make([]byte, 9)...)
	for _, v := range []any{
		uint16(2), uint16(3), uint32(1), uint32(base + head), uint32(52), uint32(0), uint32(0), uint16(52), uint16(32), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(0), uint32(base), uint32(base), size, size, uint32(5), uint32(4096),
	} {
		var err error
		if b, err = binary.Append(b, binary.LittleEndian, v); err != nil {
			return err
		}
	}
	name := fmt.Sprintf("./old-%d", os.Getpid())
	if err := os.WriteFile(name, append(b, code...), 0o700); err != nil {
		return err
	}
	defer os.Remove(name)
	err := exec.Command(name).Run()
	if x := (*exec.ExitError)(nil); errors.As(err, &x) {
		if ws := x.Sys().(syscall.WaitStatus); ws.Signaled() && ws.Signal() == unix.SIGSYS {
			return unix.EPERM
		}
		if x.ExitCode() == 42 {
			return nil
		}
	}
	return err
}

// machines are what people run that has a way of its own to threads, memory and
// input: each continues, where it is there.
var machines = map[string]func() error{
	"C": func() error { return ifThere("cc", "-pthread", "-o", "compiled", "source.c") },
	"Node": func() error {
		return ifThere("node", "-e", "require('fs').readFile('/proc/self/stat', (e) => { if (e) throw e; new (require('worker_threads').Worker)('1', {eval: true}) })")
	},
	"Java": func() error { return ifThere("java", "-Xmx64m", "-version") },
	"Python": func() error {
		return ifThere("python3", "-c", "import threading, multiprocessing as m; t = threading.Thread(target=print); t.start(); t.join(); p = m.Pool(2); assert p.map(abs, [-1, -2]) == [1, 2]")
	},
	"Perl": func() error { return ifThere("perl", "-e", "fork // die; wait; open F, '-|', 'true' or die; close F") },
	"git": func() error {
		return errors.Join(ifThere("git", "init", "-q", "repository"), os.RemoveAll("repository"))
	},
	"strace": func() error { return ifThere("strace", "-f", "-o", "/dev/null", "/bin/true") },
}

// ifThere runs a program if it is on this machine.
func ifThere(name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil //nolint:nilerr // it is not there
	}
	if name == "cc" {
		const source = "#include <pthread.h>\n#include <stdio.h>\nstatic void *f(void *x) { return x; }\nint main(void) { pthread_t t; return pthread_create(&t, 0, f, 0) || pthread_join(t, 0) || puts(\"done\") < 0; }\n"
		if err := os.WriteFile("source.c", []byte(source), 0o600); err != nil {
			return err
		}
		defer os.Remove("source.c")
		defer os.Remove("compiled")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err == nil && name == "cc" {
		out, err = exec.Command("./compiled").CombinedOutput()
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
