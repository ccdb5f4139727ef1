package keeper

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api/program"
	"github.com/mesita/mesita/isolation"
)

// programError marks an error of the program as such, and one of a full disk; any
// other is this machine's.
func programError(err error) error {
	if err == nil {
		return nil
	}
	var limit *isolation.RlimitError
	if errors.As(err, &limit) {
		return &remoteError{limit.Error(), ErrProgram}
	}
	var refused *isolation.RefusedError
	if errors.As(err, &refused) {
		return &remoteError{refused.Error(), ErrProgram}
	}
	var failed *os.PathError
	if !errors.As(err, &failed) {
		return err
	}
	switch failed.Op {
	case isolation.MakeOp:
		return fullDisk(err)
	case "fork/exec", "chdir", isolation.ReachOp:
		if ofProgram(failed) {
			return &remoteError{err.Error(), ErrProgram}
		}
	}
	return err
}

func ofProgram(err *os.PathError) bool {
	for _, no := range []unix.Errno{unix.ENOENT, unix.EACCES, unix.EPERM, unix.ENOEXEC, unix.ENOTDIR, unix.ELOOP, unix.E2BIG, unix.ENAMETOOLONG, unix.EISDIR,
		unix.ETXTBSY, unix.ELIBBAD, unix.EINVAL} {
		if errors.Is(err, no) {
			return true
		}
	}
	return errors.Is(err, unix.EIO) && err.Op == "fork/exec" && cutOff(err.Path)
}

// cutOff tells whether a program lacks its end. The kernel says of one what it says of
// a disk that cannot be read.
func cutOff(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return false
	}
	_, err = program.Look(f)
	return errors.Is(err, program.ErrCut)
}

// fullDisk marks an error of writing to the disk if there is no room.
func fullDisk(err error) error {
	if slices.ContainsFunc([]unix.Errno{unix.ENOSPC, unix.EDQUOT}, func(no unix.Errno) bool { return errors.Is(err, no) }) {
		return &remoteError{err.Error(), ErrDiskFull}
	}
	return err
}
