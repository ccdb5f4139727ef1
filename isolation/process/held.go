//go:build (amd64 || arm64) && !startbythread

package process

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openGate makes the pipe on which a held process waits. Nobody else has our end
// for longer than a newborn takes to close its copy, so it ends with us, however
// that happens.
func (b *Birth) openGate() error {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	b.hold = os.NewFile(uintptr(pipe[1]), "hold")
	return b.use(&b.gate, pipe[0], nil)
}

// waitToGo has a held process wait, and end where nobody is left to let it go.
func (b *Birth) waitToGo(c *chain) {
	if b.hold == nil {
		return
	}
	leave := (&chain{a: b.arena}).call(0, unix.SYS_EXIT_GROUP, 1)
	gate := c.call(b.does("wait to be let go"), unix.SYS_READ, uintptr(b.gate), b.arena.bytes(false, make([]byte, 1)), 1)
	c.call(0, unix.SYS_CLOSE, uintptr(b.gate))
	gate.zero = leave.addr()
}

// Go lets a held process go, to become its program; Wait tells what came of it,
// also if it is not there any more.
func (b *Birth) Go() {
	if b.hold == nil {
		return
	}
	_, _ = b.hold.Write([]byte{1})
	_ = b.hold.Close()
}

// Drop ends a held process in place of Go and Wait, and returns once it is gone,
// and its namespace with it. Nothing of the program ran.
func (b *Birth) Drop() error {
	kerr := b.Kill()
	if _, err := b.wait(); !errors.Is(err, ErrEnded) {
		return nil // it failed before it was to wait, and was collected
	}
	if errors.Is(kerr, os.ErrProcessDone) {
		return nil
	}
	return kerr
}
