//go:build amd64 || arm64

package syscalls

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// call is what a filter sees of a system call.
type call struct {
	nr, arch uint32
	args     [6]uint64
}

// run is the kernel's machine for a filter, as far as a filter needs it. It
// returns the answer, and after how many instructions.
func run(t *testing.T, program []unix.SockFilter, c call) (answer, int) {
	t.Helper()
	words := []uint32{c.nr, c.arch, 0, 0}
	for _, a := range c.args {
		words = append(words, uint32(a), uint32(a>>32))
	}
	var a uint32
	for pc, steps := 0, 1; pc < len(program); pc, steps = pc+1, steps+1 {
		in := program[pc]
		holds := false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = words[in.K/4]
			continue
		case unix.BPF_RET | unix.BPF_K:
			return answer(in.K), steps
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			holds = a == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			holds = a >= in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			holds = a&in.K != 0
		default:
			t.Fatalf("instruction %d: %+v is not known", pc, in)
		}
		if holds {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	t.Fatalf("%+v: the program has no end", c)
	return 0, 0
}

// The program says of every number what the policy says of it, and of all others
// that there is no such call; of another machine's numbers nothing is allowed.
func TestTheProgramIsThePolicy(t *testing.T) {
	program, p := Filter(), policy()
	most := 0
	try := func(nr uint32) {
		want := answer(unknown)
		if r, ok := p[nr]; ok {
			want = r.not // of arguments that are all ones
			if r.bits != 0 || slices.Contains(r.values, 0xffffffff) {
				want = r.then
			}
		}
		c := call{nr: nr, arch: arch}
		for i := range c.args {
			c.args[i] = 0xffffffff
		}
		got, steps := run(t, program, c)
		if most = max(most, steps); got != want {
			t.Errorf("%d: %x and not %x", nr, got, want)
		}
		for _, other := range []uint32{unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_RISCV64} {
			if got, _ := run(t, program, call{nr: nr, arch: other}); got != kill {
				t.Errorf("%d of machine %x: %x", nr, other, got)
			}
		}
	}
	for nr := range uint32(2048) {
		try(nr)
		try(nr | 0x40000000) // x32: the same machine by other numbers
		try(^nr)
	}
	t.Logf("%d instructions, at most %d for a call", len(program), most)
	if len(program) > 200 || most > 24 {
		t.Errorf("%d instructions, at most %d for a call: each start and each call costs them", len(program), most)
	}
}

func TestArgumentsDecide(t *testing.T) {
	program := Filter()
	for _, tt := range []struct {
		nr   uint32
		args [6]uint64
		want answer
	}{
		{unix.SYS_CLONE, [6]uint64{uint64(unix.SIGCHLD)}, allow},
		{unix.SYS_CLONE, [6]uint64{unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM | unix.CLONE_SETTLS}, allow},
		{unix.SYS_CLONE, [6]uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, refuse},
		{unix.SYS_CLONE, [6]uint64{1<<40 | unix.CLONE_NEWPID}, refuse},
		{unix.SYS_UNSHARE, [6]uint64{unix.CLONE_FS | unix.CLONE_FILES}, allow},
		{unix.SYS_UNSHARE, [6]uint64{unix.CLONE_FS | unix.CLONE_NEWNET}, refuse},
		{unix.SYS_UNSHARE, [6]uint64{unix.CLONE_NEWTIME}, refuse},
		{unix.SYS_PERSONALITY, [6]uint64{0xffffffff}, allow},
		{unix.SYS_PERSONALITY, [6]uint64{0x20008}, allow},
		{unix.SYS_PERSONALITY, [6]uint64{0x0400000}, refuse}, // READ_IMPLIES_EXEC
		{unix.SYS_IOCTL, [6]uint64{0, unix.TCGETS}, allow},
		{unix.SYS_IOCTL, [6]uint64{0, unix.TIOCSTI}, refuse},
		{unix.SYS_IOCTL, [6]uint64{0, 1<<32 | unix.TIOCSTI}, refuse}, // the kernel reads the lower half
		{unix.SYS_IOCTL, [6]uint64{unix.TIOCSTI, unix.TIOCGWINSZ}, allow},
		{unix.SYS_SOCKET, [6]uint64{unix.AF_INET6, unix.SOCK_STREAM}, allow},
		{unix.SYS_SOCKET, [6]uint64{unix.AF_VSOCK, unix.SOCK_STREAM}, family},
		{unix.SYS_SOCKET, [6]uint64{unix.AF_ALG, unix.SOCK_SEQPACKET}, family},
		{unix.SYS_SOCKETPAIR, [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}, allow},
		{unix.SYS_SOCKETPAIR, [6]uint64{unix.AF_TIPC, unix.SOCK_STREAM}, family},
	} {
		if got, _ := run(t, program, call{tt.nr, arch, tt.args}); got != tt.want {
			t.Errorf("%d %x: %x and not %x", tt.nr, tt.args, got, tt.want)
		}
	}
}

// A program that is longer than a conditional jump is found its way through.
func TestLongPrograms(t *testing.T) {
	p := map[uint32]rule{}
	for nr := range uint32(600) {
		p[nr] = rule{arg: 1, values: []uint32{nr}, then: allow, not: answer(unix.SECCOMP_RET_ERRNO) | answer(nr+1)}
	}
	program := assemble(arch, p)
	for nr := range uint32(600) {
		for arg, want := range map[uint32]answer{nr: allow, nr + 1: p[nr].not} {
			if got, _ := run(t, program, call{nr, arch, [6]uint64{0, uint64(arg)}}); got != want {
				t.Errorf("%d, %d: %x and not %x", nr, arg, got, want)
			}
		}
	}
}
