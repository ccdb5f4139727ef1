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

func give(a answer) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(a)}
}

// jump goes on at the next instruction if it does not hold, or one after it.
func jump(op uint16, k uint32, holds, not int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | op, K: k, Jt: uint8(holds), Jf: uint8(not)}
}

// assemble writes the program of a policy. A call of another machine's numbers,
// as of a 32-bit program, ends the process: all its numbers mean something else.
// One that the policy does not name is unknown.
func assemble(arch uint32, policy map[uint32]rule) []unix.SockFilter {
	return append([]unix.SockFilter{
		load(offArch), jump(unix.BPF_JEQ, arch, 1, 0), give(kill), load(offNumber),
	}, search(intervals(policy))...)
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
func search(in []interval) []unix.SockFilter {
	if len(in) == 1 {
		return in[0].rule.code()
	}
	left, right := search(in[:len(in)/2]), search(in[len(in)/2:])
	pivot := in[len(in)/2].from
	head := []unix.SockFilter{jump(unix.BPF_JGE, pivot, len(left), 0)}
	if len(left) > 255 { // a conditional jump goes no further
		head = []unix.SockFilter{jump(unix.BPF_JGE, pivot, 0, 1), {Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(left))}}
	}
	return slices.Concat(head, left, right)
}

func (r rule) code() []unix.SockFilter {
	if r.constant() {
		return []unix.SockFilter{give(r.not)}
	}
	out := []unix.SockFilter{load(offArgs + 8*uint32(r.arg))}
	tests := len(r.values)
	if r.bits != 0 {
		tests++
		out = append(out, jump(unix.BPF_JSET, r.bits, tests, 0))
	}
	for i, v := range r.values {
		out = append(out, jump(unix.BPF_JEQ, v, len(r.values)-i, 0))
	}
	return append(out, give(r.not), give(r.then))
}
