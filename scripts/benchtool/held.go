package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// benchHeld starts tasks beside others that take for ever to start.
func benchHeld(b *bench) error {
	plain, beside := &figure{}, b.figure("warm: submit → executing, beside 120 starts that hang or are throttled", "ms", 4)
	held := b.figure("  of that, held up by the others (median against median, +1)", "ms", 2)
	n, err := b.one()
	if err != nil {
		return err
	}
	defer n.end()
	for i := range b.times(31) + 1 {
		if err := addWarm(b, n, plain, i); err != nil {
			return err
		}
	}
	end, err := b.stall(n)
	defer end()
	if err != nil {
		return err
	}
	for i := range b.times(31) + 1 {
		if err := addWarm(b, n, beside, i); err != nil {
			return err
		}
	}
	held.add(max(0, beside.median()-plain.median()) + 1)
	return nil
}

// addWarm leaves the first out, which starts the keeper.
func addWarm(b *bench, n *node, f *figure, i int) error {
	e, _, err := warmOnce(b, n)
	if i > 0 {
		f.add(ms(e))
	}
	return err
}

// stall starts tasks that do not get to run: their program is on a file system
// that answers nothing, or hangs in its exec, or they are throttled. end lets
// them go.
func (b *bench) stall(n *node) (end func(), err error) {
	var undo []func()
	end = func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
	}
	dir := filepath.Join(b.dir, "hung")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return end, err
	}
	server, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return end, fmt.Errorf("make a file system that hangs: %w", err)
	}
	undo = append(undo, func() { _ = unix.Close(server) }) // whoever waits fails
	if err := unix.Mount("hung", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", server)); err != nil {
		return end, fmt.Errorf("make a file system that hangs: %w", err)
	}
	undo = append(undo, func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // it is empty
	leased, err := lease(filepath.Join(b.dir, "leased"))
	if err != nil {
		return end, fmt.Errorf("make a program that hangs: %w", err)
	}
	undo = append(undo, func() { _ = leased.Close() }) // it was only held
	slow := batch("/bin/sh", "-c", "while :; do :; done")
	slow["cpus"], slow["cpuLimit"] = 0.001, 0.001
	for _, s := range []spec{batch(filepath.Join(dir, "program")), batch(leased.Name()), slow} {
		s["array"] = "0-39"
		if _, err := n.submit(s); err != nil {
			return end, err
		}
	}
	return end, nil
}

// lease makes a program whose exec waits until the file is closed.
func lease(path string) (*os.File, error) {
	if err := os.WriteFile(path, []byte("#!/bin/true\n"), 0o755); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	return f, err
}
