//go:build (amd64 || arm64) && !startbythread

package process

import "unsafe"

// step is one system call of a script, as interpret reads it: its layout is in
// script_*.s.
type step struct {
	nr         uintptr // compare is none
	args       [6]uintptr
	out        uintptr // address of the 8 bytes that take the result; 0: none
	next, zero uintptr // the step after it, and if its result is 0
	fail       uintptr // the step after an error, which is in the report then
	stage      uintptr // what the report says of it
}

// compare is in place of a number: the result is the 4 bytes at args[0] less args[1].
const compare = ^uintptr(0)

// arena is the memory of a script: all that a process needs between its birth
// and its program. Its first part is what is kept by the parent of a program, the
// rest is needed until the program runs.
//
// What makes a start out of a list of system calls is that the newborn copy of
// a process of many threads must not touch the heap, grow a stack, or wait for
// a lock, so none of our code can run in it. With the list made beforehand,
// what does run is the thirty instructions of interpret, which use registers
// only. All other memory can be given back at once, so a task does not pin ours.
type arena struct {
	mem        []byte
	kept, rest int // up to where they are used
	restAt     int
}

// stepsRoom is what the steps of any start take.
const stepsRoom = 192 * int(unsafe.Sizeof(step{}))

// newArena keeps the part before restAt, which begins with the report.
func newArena(mem []byte, restAt int) *arena {
	a := &arena{mem: mem, restAt: restAt}
	a.reset()
	return a
}

const reportSize = 8

func (a *arena) reset() {
	clear(a.mem[:a.used()])
	a.kept, a.rest = min(reportSize, a.restAt), a.restAt
}

// report is where a process writes what failed.
func (a *arena) report() uintptr { return a.at(0) }

// has reports whether there is room for so many bytes of strings and their addresses,
// beside the steps of any start.
func (a *arena) has(room int) bool { return a.restAt+stepsRoom+room <= len(a.mem) }

// used is how much of it is.
func (a *arena) used() int { return a.rest }

func (a *arena) at(off int) uintptr { return uintptr(unsafe.Pointer(&a.mem[off])) }

// take takes n bytes, of which the last is followed by a zero. It panics when
// there is no room: too little was asked for.
func (a *arena) take(keep bool, n int) int {
	used, end := &a.rest, len(a.mem)
	if keep {
		used, end = &a.kept, a.restAt
	}
	off := *used
	*used = (off + n + 8) &^ 7
	if *used > end {
		panic("isolation: a script does not fit its memory")
	}
	return off
}

// bytes returns where a copy of b is.
func (a *arena) bytes(keep bool, b []byte) uintptr {
	off := a.take(keep, len(b))
	copy(a.mem[off:], b)
	return a.at(off)
}

func (a *arena) string(s string) uintptr { return a.bytes(false, []byte(s)) }

// strings returns where the list of their addresses is, ended by a zero.
func (a *arena) strings(list []string) uintptr {
	off := a.take(false, 8*(len(list)+1))
	for i, s := range list {
		*(*uintptr)(unsafe.Pointer(&a.mem[off+8*i])) = a.string(s)
	}
	return a.at(off)
}

// roomFor is what bytes and strings take.
func roomFor(lists ...[]string) int {
	n := 0
	for _, list := range lists {
		n += 16
		for _, s := range list {
			n += 8 + len(s) + 16
		}
	}
	return n
}

func (s *step) addr() uintptr { return uintptr(unsafe.Pointer(s)) }

// arg returns where an argument is, for an earlier step whose result it is.
func (s *step) arg(i int) uintptr { return uintptr(unsafe.Pointer(&s.args[i])) }

// goTo sets the step after this one.
func (s *step) goTo(next *step) { s.next, s.zero = next.addr(), next.addr() }

// chain appends steps that follow each other.
type chain struct {
	a           *arena
	keep        bool    // in the page that is kept
	fail        uintptr // the step after an error
	first, last *step
	open        []*uintptr // what is to be the address of the next one, beside the last one's
}

// call appends a system call.
func (c *chain) call(stage, nr uintptr, args ...uintptr) *step {
	s := (*step)(unsafe.Pointer(&c.a.mem[c.a.take(c.keep, int(unsafe.Sizeof(step{})))]))
	*s = step{nr: nr, fail: c.fail, stage: stage}
	copy(s.args[:], args)
	if c.last == nil {
		c.first = s
	} else {
		c.then(s)
	}
	c.last = s
	return s
}

// then sets the step after the last one.
func (c *chain) then(next *step) {
	c.last.goTo(next)
	for _, at := range c.open {
		*at = next.addr()
	}
	c.open = nil
}

// try appends a system call whose error does not matter.
func (c *chain) try(nr uintptr, args ...uintptr) *step {
	s := c.call(0, nr, args...)
	c.open = append(c.open, &s.fail)
	return s
}
