package keeper

import (
	"errors"
	"io"
	"os"
	"slices"
	"strconv"

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
	return errors.Is(err, unix.EIO) && err.Op == "fork/exec" && !unreadable(err.Path)
}

// unreadable reports whether a disk does not give the beginning of a program: the
// kernel says EIO for that, and for a file, or a loader or interpreter that the file
// names, which lacks its end. So it is the program's fault unless a read says
// otherwise: whoever may blame the node for it could take it from everybody.
func unreadable(path string) bool {
	f := openRegular(path)
	if f == nil {
		return false
	}
	defer f.Close()
	return diskFails(f)
}

func diskFails(r io.ReaderAt) bool {
	_, err := program.Look(r)
	return errors.Is(err, unix.EIO)
}

// openRegular opens a file of a disk, nil if it is none. A name may lead anywhere by
// now: what is not a file of a disk of this machine is not even opened, as that alone
// may do something, or never end.
func openRegular(path string) *os.File {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	var on unix.Statfs_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || unix.Fstatfs(fd, &on) != nil {
		return nil
	}
	switch uint32(on.Type) { // signed, and on some processors of 32 bits
	case unix.FUSE_SUPER_MAGIC, unix.NFS_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC:
		return nil
	}
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return nil
	}
	return f
}

// fullDisk marks an error of writing to the disk if there is no room.
func fullDisk(err error) error {
	if slices.ContainsFunc([]unix.Errno{unix.ENOSPC, unix.EDQUOT}, func(no unix.Errno) bool { return errors.Is(err, no) }) {
		return &remoteError{err.Error(), ErrDiskFull}
	}
	return err
}
