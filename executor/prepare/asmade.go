package prepare

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mark is how a folder was made, as far as the file system tells it: which one it
// is, its mode, its attributes, and what it takes on disk, which for a folder that
// held many names stays more than for a new one.
type mark struct {
	dev, inode, links uint64
	mode              uint32
	size              int64
	flags             uint32 // of ioctl_iflags(2)
	extended          fsxattr
}

// fsxattr is that of FS_IOC_FSGETXATTR.
type fsxattr struct {
	flags, extentSize, extents, project, cowExtentSize uint32
	_                                                  [8]byte
}

const getExtended = 0x801c581f // FS_IOC_FSGETXATTR

// numbers are those of a user and a group.
type numbers struct{ uid, gid uint32 }

// look is the mark of a folder and whose it is. It is an error if there is anything
// in it, or if it has attributes that have names, as access lists are.
func look(dir string) (m mark, of numbers, err error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	fd, err := unix.Open(dir, flags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) { // it is not ours
		fd, err = unix.Open(dir, flags, 0)
	}
	if err != nil {
		return m, of, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return m, of, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	m = mark{dev: st.Dev, inode: st.Ino, links: uint64(st.Nlink), mode: st.Mode, size: st.Size} //nolint:unconvert // it has 32 bits elsewhere
	if err := errors.Join(noNames(fd), noAttributes(fd), attributes(fd, unix.FS_IOC_GETFLAGS, unsafe.Pointer(&m.flags)),
		attributes(fd, getExtended, unsafe.Pointer(&m.extended))); err != nil {
		return m, of, &os.PathError{Op: "look at", Path: dir, Err: err}
	}
	return m, numbers{st.Uid, st.Gid}, nil
}

var (
	errFull       = errors.New("there is something in it")
	errAttributes = errors.New("it has attributes of its own")
)

func noNames(fd int) error {
	var buf [512]byte
	for {
		n, err := unix.ReadDirent(fd, buf[:])
		if n <= 0 || err != nil {
			return err
		}
		if _, _, names := unix.ParseDirent(buf[:n], 1, nil); len(names) > 0 {
			return errFull
		}
	}
}

func noAttributes(fd int) error {
	switch n, err := unix.Flistxattr(fd, nil); {
	case errors.Is(err, unix.ENOTSUP):
		return nil
	case err != nil:
		return err
	case n > 0:
		return errAttributes
	}
	return nil
}

// attributes reads what not every file system has.
func attributes(fd int, request uintptr, into unsafe.Pointer) error {
	_, _, no := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(into))
	switch no {
	case 0, unix.ENOTTY, unix.ENOTSUP, unix.EINVAL, unix.ENOSYS:
		return nil
	}
	return no
}
