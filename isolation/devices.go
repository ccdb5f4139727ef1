package isolation

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// devices are those that what runs in a slice may open, by a program of bpf(2)
// that the kernel asks for each group of the v2 tree, whatever its controllers:
// it costs 5 µs for each slice. Where that cannot be it is the controller of v1.
type devices struct {
	procRoot string
	program  int        // of the usual ones
	v1       *v1Devices // nil: there is a program
	err      error
}

// by says what limits devices.
func (d *devices) by() string {
	switch {
	case d.err != nil:
		return "no"
	case d.v1 != nil:
		return "cgroup-v1"
	default:
		return "bpf"
	}
}

// instruction is one of the kernel's machine for its own programs, bpf(2).
type instruction struct {
	op     uint8
	regs   uint8 // destination, and source above it
	offset int16
	imm    int32
}

// Registers and operations, as in linux/bpf.h.
const (
	r0 = iota
	r1
	r2
	r3
	r4

	loadWord  = unix.BPF_LDX | unix.BPF_W | unix.BPF_MEM
	set       = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K
	mask      = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	ifNot     = unix.BPF_JMP | unix.BPF_JNE | unix.BPF_K
	ifBelow   = unix.BPF_JMP | unix.BPF_JLT | unix.BPF_K
	ifAbove   = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	leave     = unix.BPF_JMP | unix.BPF_EXIT
	character = 2 // BPF_DEVCG_DEV_CHAR, in the lower half of the first word
)

// device is a range of the minor numbers of character devices.
type device struct{ major, first, last uint32 }

// every is all of a major number.
func every(major uint32) device { return device{major, 0, ^uint32(0)} }

// usualDevices are null, zero, full, random, urandom; tty and ptmx; and the
// terminals behind that: those which Docker gives to all.
var usualDevices = []device{{1, 3, 3}, {1, 5, 5}, {1, 7, 9}, {5, 0, 0}, {5, 2, 2}, every(136), every(137), every(138), every(139), every(140), every(141), every(142), every(143)}

// gpus are all devices of the drivers of accelerators, as the kernel has them now:
// most get a number as they are loaded.
func gpus(proc string) ([]device, error) {
	f, err := os.Open(filepath.Join(proc, "devices"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []device
	s := bufio.NewScanner(f)
	for s.Scan() && s.Text() != "Block devices:" {
		number, name, _ := strings.Cut(strings.TrimSpace(s.Text()), " ")
		major, err := strconv.ParseUint(number, 10, 12)
		if err != nil {
			continue // a heading
		}
		switch {
		case strings.HasPrefix(name, "nvidia"), name == "drm", name == "kfd", name == "accel", name == "habanalabs":
			out = append(out, every(uint32(major)))
		}
	}
	return out, s.Err()
}

// deviceProgram answers 1 for the devices given and 0 for all others. Whoever
// makes nodes is refused by capabilities already.
func deviceProgram(allowed []device) []instruction {
	out := []instruction{
		{op: loadWord, regs: r2 | r1<<4},
		{op: mask, regs: r2, imm: 0xffff},
		{op: loadWord, regs: r3 | r1<<4, offset: 4},
		{op: loadWord, regs: r4 | r1<<4, offset: 8},
		{op: set, regs: r0, imm: 0},
		{op: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, regs: r2, imm: character, offset: 1},
		{op: leave},
	}
	for _, d := range allowed {
		out = append(out,
			instruction{op: ifNot, regs: r3, imm: int32(d.major), offset: 4},
			instruction{op: ifBelow, regs: r4, imm: int32(d.first), offset: 3},
			instruction{op: ifAbove, regs: r4, imm: int32(d.last), offset: 2},
			instruction{op: set, regs: r0, imm: 1}, instruction{op: leave},
		)
	}
	return append(out, instruction{op: leave})
}

// prepare chooses what limits devices on this machine. The top slice has a name, and
// a folder if there is a v2 tree.
func (d *devices) prepare(proc, top, name string, v1 map[string]string) {
	d.procRoot = proc
	if d.err = d.load(top); d.err == nil {
		return
	}
	groups, err := newV1Devices(v1, name)
	if err != nil {
		d.err = fmt.Errorf("%w; %w", d.err, err)
		return
	}
	d.v1, d.err = groups, nil
}

// load loads what most slices need, and finds out whether a group can have it:
// a kernel may know such programs and not ask them.
func (d *devices) load(top string) error {
	if top == "" {
		return errors.New("there is no cgroup v2 tree")
	}
	group, err := unix.Open(top, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: top, Err: err}
	}
	defer unix.Close(group)
	attr := struct {
		target, kind, flags, attached uint32
		programs                      uint64 // an address
		count                         uint32
		_                             uint32
	}{target: uint32(group), kind: unix.BPF_CGROUP_DEVICE}
	if _, err := bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return fmt.Errorf("see which programs a group has: %w", err)
	}
	if d.program, err = loadProgram(deviceProgram(usualDevices)); err != nil {
		return err
	}
	return mayAttach(group)
}

// mayAttach finds out whether a program can be attached to a group and those below,
// by one that refuses nothing. One further up may let no others beside it.
func mayAttach(group int) error {
	all, err := loadProgram([]instruction{{op: set, regs: r0, imm: 1}, {op: leave}})
	if err != nil {
		return err
	}
	defer unix.Close(all)
	err = attach(group, all)
	if errors.Is(err, unix.EPERM) {
		return errors.New("a group above has a program for devices that lets no other beside it, as a container's may: only that one refuses any. " +
			"Have it attached with BPF_F_ALLOW_MULTI, or start the node elsewhere")
	}
	if err != nil {
		return fmt.Errorf("attach a program for devices: %w", err)
	}
	attr := programOfGroup{target: uint32(group), program: uint32(all), kind: unix.BPF_CGROUP_DEVICE}
	if _, err := bpf(unix.BPF_PROG_DETACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return fmt.Errorf("detach a program for devices: %w", err)
	}
	return nil
}

// programOfGroup is as much of union bpf_attr as attaching takes.
type programOfGroup struct{ target, program, kind, flags uint32 }

// attach has the kernel ask a program beside those that others attach, as above the
// group.
func attach(group, program int) error {
	attr := programOfGroup{uint32(group), uint32(program), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI}
	_, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

// limitDevices does so once for a slice that has a program: the kernel takes none
// twice. Otherwise each process enters a group, by a write to a file.
func (s *Slice) limitDevices(withGPUs, beside bool) (entries []string, err error) {
	d := &s.h.devices
	if beside && d.v1 == nil { // the slice has its program
		return nil, nil
	}
	var more []device
	if withGPUs && d.err == nil {
		if more, err = gpus(d.procRoot); err != nil {
			return nil, fmt.Errorf("see which devices are accelerators: %w", err)
		}
	}
	switch {
	case d.err != nil: // the node says so
		return nil, nil
	case d.v1 != nil:
		file, err := d.v1.entry(more)
		return []string{file}, err
	}
	s.limiting.Lock()
	defer s.limiting.Unlock()
	if s.limited {
		return nil, nil
	}
	err = d.limit(s.dir, more)
	s.limited = err == nil
	return nil, err
}

// limit has a group open the usual devices and more, and no others.
func (d *devices) limit(dir string, more []device) (err error) {
	program := d.program
	if len(more) > 0 {
		if program, err = loadProgram(deviceProgram(append(more, usualDevices...))); err != nil {
			return err
		}
		defer unix.Close(program)
	}
	group, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(group)
	if err := attach(group, program); err != nil {
		return fmt.Errorf("limit the devices of %s, which --unconfined devices leaves out: %w", dir, err)
	}
	return nil
}

// loadProgram has the kernel check a program, and returns a descriptor of it.
func loadProgram(code []instruction) (int, error) {
	license := []byte("Apache-2.0\x00")
	attr := struct { // as much of union bpf_attr as there was at first
		kind, count   uint32
		code, license uint64 // addresses, also where those have 32 bits
		log           [24]byte
	}{unix.BPF_PROG_TYPE_CGROUP_DEVICE, uint32(len(code)), uint64(uintptr(unsafe.Pointer(&code[0]))), uint64(uintptr(unsafe.Pointer(&license[0]))), [24]byte{}}
	fd, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(code)
	runtime.KeepAlive(license)
	if err != nil {
		return -1, fmt.Errorf("load a program for devices: %w", err)
	}
	return fd, nil
}

// bpfTries is how often a call is made that the kernel gives up for a signal: the check
// of a program ends with EAGAIN then, and the runtime signals threads that are slow.
const bpfTries = 10

func bpf(command uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	for try := 1; ; try++ {
		fd, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
		if errno == 0 {
			return int(fd), nil
		}
		if errno != unix.EINTR && errno != unix.EAGAIN || try == bpfTries {
			return -1, errno
		}
	}
}
