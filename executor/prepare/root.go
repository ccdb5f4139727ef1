package prepare

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
)

// root is the folder that is / to a task. Users, programs and folders are those
// in it, never the machine's under the same name.
type root struct {
	dir  string
	node string // whose it is, for words
}

// here is what errors call the node.
func (r root) here() string {
	if r.node == "" {
		return "this node"
	}
	return "node " + r.node
}

// open opens a file of the root, following links as a process in it would. It
// waits for no device or pipe: what is named may be anything.
func (r root) open(path string, flags int) (*os.File, error) {
	flags |= unix.O_CLOEXEC
	if flags&unix.O_PATH == 0 {
		flags |= unix.O_NONBLOCK | unix.O_NOCTTY
	}
	var fd int
	var err error
	for {
		if r.dir == "/" {
			fd, err = unix.Open(path, flags, 0)
		} else {
			fd, err = r.openBelow(path, flags)
		}
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (r root) openBelow(path string, flags int) (int, error) {
	dir, err := unix.Open(r.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return unix.Openat2(dir, path, &unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
}

// openFile opens a regular file to read. The name may lead to a device by now, of
// which opening alone does something, so it is looked at before.
func (r root) openFile(path string) (*os.File, error) {
	at, err := r.open(path, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	if fi, err := at.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, errors.Join(err, &os.PathError{Op: "open", Path: path, Err: errors.New("is not a file")})
	}
	return os.Open("/proc/self/fd/" + strconv.Itoa(int(at.Fd())))
}

func (r root) stat(path string) (os.FileInfo, error) {
	f, err := r.open(path, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Stat()
}

// account is who a task runs as.
type account struct {
	uid, gid   uint32
	groups     []uint32
	name, home string
	own        bool // the uid is the attempt's own: see Folders.own
}

// belong gives an account with a uid of its own the group of that number, beside
// those that it has.
func (a *account) belong() {
	a.gid = a.uid
	a.groups = append([]uint32{a.gid}, a.groups...)
}

// taskUser is who an attempt runs as that has a user of its own, which no file
// knows of: at home in its folder, and of the group of that name if the machine has
// one, by which an administrator gives files to all of them.
func (r root) taskUser(dir string) (account, error) {
	a := account{name: api.TaskUser, home: dir, own: true}
	err := r.each("/etc/group", 4, func(f []string) {
		if gid, err := strconv.ParseUint(f[2], 10, 32); err == nil && gid != 0 && f[0] == api.TaskUser && a.groups == nil {
			a.groups = []uint32{uint32(gid)}
		}
	})
	return a, err
}

// taken are the numbers of all accounts and groups.
func (r root) taken() (map[uint32]bool, error) {
	ids := map[uint32]bool{}
	for _, path := range []string{"/etc/passwd", "/etc/group"} {
		err := r.each(path, 3, func(f []string) {
			if id, err := strconv.ParseUint(f[2], 10, 32); err == nil {
				ids[uint32(id)] = true
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// lookup finds USER or USER:GROUP, each a name or a number; "" is root. A number
// need not have an account. With a group, the account's other groups do not
// count.
func (r root) lookup(who string) (account, error) {
	name, group, grouped := strings.Cut(who, ":")
	a, err := r.user(name)
	if err != nil || !grouped {
		return a, err
	}
	gid, err := r.group(group)
	a.gid, a.groups = gid, []uint32{gid}
	return a, err
}

func (r root) user(name string) (account, error) {
	if name == "" || name == "root" {
		return account{name: "root", home: "/root"}, nil
	}
	id, numErr := strconv.ParseUint(name, 10, 31)
	var a account
	found, bad := false, false
	err := r.each("/etc/passwd", 7, func(f []string) {
		if found || f[0] != name && (numErr != nil || f[2] != name) {
			return
		}
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		a, found, bad = account{uid: uint32(uid), gid: uint32(gid), name: f[0], home: f[5]}, true, err1 != nil || err2 != nil
	})
	switch {
	case err != nil:
		return a, err
	case bad:
		return a, errorf("user %q has an account without numbers in /etc/passwd of %s", name, r.here())
	case !found && numErr == nil:
		return account{uid: uint32(id), gid: uint32(id), name: name, home: "/"}, nil
	case !found:
		return a, errorf("user %q does not exist on %s: add it, or run as another with --user", name, r.here())
	}
	a.groups = []uint32{a.gid}
	err = r.each("/etc/group", 4, func(f []string) {
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if err == nil && uint32(gid) != a.gid && strings.Contains(","+f[3]+",", ","+a.name+",") {
			a.groups = append(a.groups, uint32(gid))
		}
	})
	return a, err
}

func (r root) group(name string) (uint32, error) {
	id, numErr := strconv.ParseUint(name, 10, 31)
	found := false
	err := r.each("/etc/group", 4, func(f []string) {
		if gid, err := strconv.ParseUint(f[2], 10, 32); err == nil && !found && f[0] == name {
			id, found = gid, true
		}
	})
	if err == nil && !found && numErr != nil {
		err = errorf("group %q does not exist on %s: add it, or name another in --user USER:GROUP", name, r.here())
	}
	return uint32(id), err
}

// each gives the lines of a file in the form of passwd(5), with at least so many
// fields. One that is not there has none.
func (r root) each(path string, fields int, f func([]string)) error {
	file, err := r.open(path, unix.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look users up: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(io.LimitReader(file, maxAccounts))
	lines.Buffer(nil, maxAccounts)
	for lines.Scan() {
		if v := strings.Split(lines.Text(), ":"); len(v) >= fields {
			f(v)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("look users up in %s: %w", path, err)
	}
	return nil
}

const maxAccounts = 16 << 20 // bytes of a file of users or groups
