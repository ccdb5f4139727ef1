package auth

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

type tcpKey struct{}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// tcpPeer is the other end of a TCP connection. Who that is, is looked up when it
// matters, once a connection.
type tcpPeer struct {
	mu           sync.Mutex
	theirs, ours netip.AddrPort
	known        bool
	uid          uint32
	inode        string
	asked        bool // whose processes have it open
	inside       bool // one of those is a task's
}

func withTCP(ctx context.Context, c net.Conn) context.Context {
	theirs, ok := c.RemoteAddr().(*net.TCPAddr)
	ours, ok2 := c.LocalAddr().(*net.TCPAddr)
	if !ok || !ok2 {
		return ctx
	}
	return context.WithValue(ctx, tcpKey{}, &tcpPeer{theirs: theirs.AddrPort(), ours: ours.AddrPort()})
}

// PeerUID is the user of this machine whose process is at the other end of a connection over
// TCP; false if that is not certain.
func PeerUID(ctx context.Context) (uint32, bool) { return tcpUID(ctx) }

// tcpUID is the user of this machine whose socket is at the other end of a
// connection; false if that is not certain.
func tcpUID(ctx context.Context) (uint32, bool) {
	p, ok := ctx.Value(tcpKey{}).(*tcpPeer)
	if !ok {
		return 0, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		if p.known {
			break
		}
		f, err := os.Open(table)
		if err != nil {
			continue
		}
		p.uid, p.inode, p.known = ownerIn(f, p.theirs, p.ours)
		f.Close()
	}
	return p.uid, p.known
}

// tcpInside reports whether a process that tells holds has the socket open that is at
// the other end of a connection whose user is known; so it does where none is found
// that has it open.
func tcpInside(ctx context.Context, tells func(pid int) bool) bool {
	p := ctx.Value(tcpKey{}).(*tcpPeer)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.asked {
		found, blind := false, false
		p.asked, p.inside = true, false
		for pid, err := range holdersOf("/proc", p.inode) {
			blind = blind || errors.Is(err, fs.ErrPermission) // of who is not root no task is root
			if found = found || err == nil; err == nil && tells(pid) {
				p.inside = true
				break
			}
		}
		p.inside = p.inside || !found && !blind
	}
	return p.inside
}

// holdersOf are the processes that have a socket open, with an error those of which
// nobody can tell. A thread with descriptors of its own is not looked at: a socket
// that only such a one has is nobody's.
func holdersOf(proc, inode string) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		procs, _ := os.ReadDir(proc) // those that it gave
		for _, p := range procs {
			pid, err := strconv.Atoi(p.Name())
			if err != nil {
				continue
			}
			dir := filepath.Join(proc, p.Name(), "fd")
			fds, err := os.ReadDir(dir)
			holds := slices.ContainsFunc(fds, func(fd fs.DirEntry) bool {
				to, err := os.Readlink(filepath.Join(dir, fd.Name()))
				return err == nil && to == "socket:["+inode+"]"
			})
			switch {
			case holds:
				err = nil
			case err == nil || errors.Is(err, fs.ErrNotExist): // or it is gone
				continue
			}
			if !yield(pid, err) {
				return
			}
		}
	}
}

// ownerIn finds the user and the inode of the socket local, which is connected to remote, in a
// table as proc_net_tcp(5) has it. A socket that its process has closed has no
// inode, and is listed as root's whoever's it was: that one is nobody's.
func ownerIn(table io.Reader, local, remote netip.AddrPort) (uid uint32, inode string, ok bool) {
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[9] == "0" {
			continue
		}
		l, err := procAddr(f[1])
		if err != nil || l != unmapped(local) {
			continue
		}
		if r, err := procAddr(f[2]); err != nil || r != unmapped(remote) {
			continue
		}
		n, err := strconv.ParseUint(f[7], 10, 32)
		return uint32(n), f[9], err == nil
	}
	return 0, "", false
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// procAddr reads an address as the kernel writes it: words of 32 bits in hex, each
// as the machine has it in memory, a colon, the port.
func procAddr(s string) (netip.AddrPort, error) {
	text, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("%q is not an address", s)
	}
	if littleEndian {
		for i := 0; i < len(b); i += 4 {
			b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
		}
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q has no port", s)
	}
	addr, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}
