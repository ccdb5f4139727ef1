// Package syscalls owns which system calls a confined process may make, and the
// program by which the kernel knows: a filter of seccomp(2). It is written once
// for each keeper; package process hands it to the kernel before each exec.
//
// It does not know who is confined. What takes a capability that a confined
// process does not have is refused all the same, as the code behind it is large
// and has had holes; what is harmless and needed is not, whatever its name.
package syscalls

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// answer is what the kernel does of a call: SECCOMP_RET_*.
type answer uint32

const (
	allow   answer = unix.SECCOMP_RET_ALLOW
	refuse         = answer(unix.SECCOMP_RET_ERRNO) | answer(unix.EPERM)
	unknown        = answer(unix.SECCOMP_RET_ERRNO) | answer(unix.ENOSYS) // as an older kernel says, for which programs have another way
	family         = answer(unix.SECCOMP_RET_ERRNO) | answer(unix.EAFNOSUPPORT)
	kill    answer = unix.SECCOMP_RET_KILL_PROCESS
)

// rule decides a call by the lower half of an argument, which is all that the
// kernel reads of those that have one.
type rule struct {
	arg       int
	bits      uint32   // the argument has one of these,
	values    []uint32 // or is one of these
	then, not answer
}

// always is the rule of a call that no argument decides.
func always(a answer) rule { return rule{then: a, not: a} }

func (r rule) constant() bool { return r.bits == 0 && len(r.values) == 0 }

func (r rule) equal(o rule) bool {
	return r.constant() && o.constant() && r.not == o.not
}

// Offsets in the kernel's struct seccomp_data, of an argument to its lower half
// on the little-endian machines that there is a policy for.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// assemble writes the program of a policy. A call of another machine's numbers,
// as of a 32-bit program, ends the process: all its numbers mean something else.
// One that the policy does not name is unknown.
func assemble(arch uint32, policy map[uint32]rule) []unix.SockFilter {
	a := assembler{at: map[string]int{}}
	root := a.search(intervals(policy))
	if root != a.last() {
		a.goTo(root)
	}
	number := a.add(load(offNumber))
	a.jump(unix.BPF_JEQ, arch, number, a.decide(always(kill)))
	a.add(load(offArch))
	slices.Reverse(a.code)
	return a.code
}

// assembler writes a program from its end on, as jumps lead to what comes later. So
// what decides alike is there once, and others jump to it: each start has the kernel
// translate all of it. Places are counted from the end.
type assembler struct {
	code []unix.SockFilter
	at   map[string]int // where a rule is decided
}

// A conditional jump goes over this many instructions at most, less one in case that
// its other way needs a longer one.
const maxJump = 254

func (a *assembler) last() int { return len(a.code) - 1 }

func (a *assembler) add(in unix.SockFilter) int {
	a.code = append(a.code, in)
	return a.last()
}

func (a *assembler) goTo(place int) int {
	return a.add(unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(a.last() - place)})
}

// near is a place that a conditional jump reaches, from which it continues.
func (a *assembler) near(place int) int {
	if a.last()-place < maxJump {
		return place
	}
	return a.goTo(place)
}

// jump continues at one place if it holds, or at another.
func (a *assembler) jump(op uint16, k uint32, holds, not int) int {
	holds, not = a.near(holds), a.near(not)
	return a.add(unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | op, K: k, Jt: uint8(a.last() - holds), Jf: uint8(a.last() - not)})
}

// interval is the numbers from one up to the next interval's.
type interval struct {
	from uint32
	rule rule
}

// intervals joins neighbours that are decided alike.
func intervals(policy map[uint32]rule) []interval {
	out := []interval{{0, always(unknown)}}
	next := uint32(0) // what the numbers from here on are is not known yet
	add := func(from uint32, r rule) {
		switch last := &out[len(out)-1]; {
		case last.from == from:
			last.rule = r
		case !last.rule.equal(r):
			out = append(out, interval{from, r})
		}
	}
	for _, nr := range slices.SortedFunc(maps.Keys(policy), cmp.Compare) {
		if nr > next {
			add(next, always(unknown))
		}
		add(nr, policy[nr])
		next = nr + 1
	}
	add(next, always(unknown))
	return out
}

// search finds the interval of the number that is loaded, in so many steps as the
// logarithm of how many there are.
func (a *assembler) search(in []interval) int {
	if len(in) == 1 {
		return a.decide(in[0].rule)
	}
	right := a.search(in[len(in)/2:])
	left := a.search(in[:len(in)/2])
	return a.jump(unix.BPF_JGE, in[len(in)/2].from, right, left)
}

// decide is where a rule is decided, not far from what comes next.
func (a *assembler) decide(r rule) int {
	name := fmt.Sprint(r)
	if at, ok := a.at[name]; ok && a.last()-at < maxJump/2 {
		return at
	}
	a.at[name] = a.write(r)
	return a.at[name]
}

func (a *assembler) write(r rule) int {
	if r.constant() {
		return a.add(unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(r.not)})
	}
	then, next := a.decide(always(r.then)), a.decide(always(r.not))
	for _, v := range slices.Backward(r.values) {
		next = a.jump(unix.BPF_JEQ, v, then, next)
	}
	if r.bits != 0 {
		a.jump(unix.BPF_JSET, r.bits, then, next)
	}
	return a.add(load(offArgs + 8*uint32(r.arg)))
}
