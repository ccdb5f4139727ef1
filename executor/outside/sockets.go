package outside

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
)

// socket is bound to a port.
type socket struct {
	protocol string // tcp or udp
	addr     netip.Addr
	port     int64
	inode    uint64 // 0: it is not a process's
}

// text says who has a port, and how.
func (s socket) text(who, how string) string {
	switch {
	case s.inode == 0:
		return "another program (" + how + ")"
	case who == "":
		who = "another program"
	}
	return fmt.Sprintf("%s (%s %s)", who, s.protocol, netip.AddrPortFrom(s.addr, uint16(s.port)))
}

const tcpListen = 10 // TCP_LISTEN

// listeners are the sockets that listen with TCP or are bound with UDP to a port
// of those, one for each port. What is only connected does not count: such ports
// come and go.
func listeners(proc string, of api.Ranges) (map[int64]socket, error) {
	out := map[int64]socket{}
	add := func(s socket) {
		if old, ok := out[s.port]; of.Has(s.port) && (!ok || old.protocol == "udp" && s.protocol == "tcp") {
			out[s.port] = s
		}
	}
	for _, protocol := range []string{"tcp", "udp"} {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			err := diagnose(protocol, family, add)
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) {
				err = readTable(proc, protocol, family, add) // the kernel was built without
			}
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, err
			}
		}
	}
	return out, nil
}

// diagnose asks the kernel for sockets as ss does (sock_diag(7)): its tables in
// /proc take milliseconds to read, since they hold all connections.
func diagnose(protocol string, family int, add func(socket)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return fmt.Errorf("ask the kernel for sockets: %w", err)
	}
	defer unix.Close(fd)
	number, states := unix.IPPROTO_TCP, uint32(1<<tcpListen)
	if protocol == "udp" {
		number, states = unix.IPPROTO_UDP, ^uint32(0)
	}
	const size = unix.NLMSG_HDRLEN + 56 // of struct inet_diag_req_v2
	req := make([]byte, size)
	ne := binary.NativeEndian
	ne.PutUint32(req, size)
	ne.PutUint16(req[4:], unix.SOCK_DIAG_BY_FAMILY)
	ne.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	req[16], req[17] = byte(family), byte(number)
	ne.PutUint32(req[20:], states)
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask the kernel for sockets: %w", err)
	}
	buf := make([]byte, 32<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("ask the kernel for sockets: %w", err)
		}
		if done, err := messages(buf[:n], protocol, add); done || err != nil {
			return err
		}
	}
}

// messages takes in what one packet of netlink holds.
func messages(b []byte, protocol string, add func(socket)) (done bool, err error) {
	ne := binary.NativeEndian
	for len(b) >= unix.NLMSG_HDRLEN {
		n := int(ne.Uint32(b))
		if n < unix.NLMSG_HDRLEN || n > len(b) {
			return true, errors.New("ask the kernel for sockets: its answer is cut off")
		}
		body := b[unix.NLMSG_HDRLEN:n]
		switch ne.Uint16(b[4:]) {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			if len(body) >= 4 {
				if e := int32(ne.Uint32(body)); e != 0 {
					return true, fmt.Errorf("ask the kernel for sockets: %w", unix.Errno(-e))
				}
			}
			return true, nil
		default:
			if len(body) >= 72 { // struct inet_diag_msg
				add(socket{protocol, address(body[0], body[8:24]), int64(binary.BigEndian.Uint16(body[4:])), uint64(ne.Uint32(body[68:]))})
			}
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return false, nil
}

func address(family byte, b []byte) netip.Addr {
	if family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16([16]byte(b))
}

// readTable reads a table of the kernel such as /proc/net/tcp6.
func readTable(proc, protocol string, family int, add func(socket)) error {
	name := protocol
	if family == unix.AF_INET6 {
		name += "6"
	}
	f, err := os.Open(filepath.Join(proc, "net", name))
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		v := strings.Fields(lines.Text())
		if len(v) < 10 || protocol == "tcp" && v[3] != "0A" {
			continue
		}
		host, port, ok := strings.Cut(v[1], ":")
		n, err := strconv.ParseUint(port, 16, 16)
		raw, err2 := hex.DecodeString(host)
		inode, err3 := strconv.ParseUint(v[9], 10, 64)
		if !ok || errors.Join(err, err2, err3) != nil || len(raw) != 4 && len(raw) != 16 {
			continue // the heading
		}
		for i := 0; i < len(raw); i += 4 { // words of the machine's order
			binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
		}
		addr, _ := netip.AddrFromSlice(raw)
		add(socket{protocol, addr, int64(n), inode})
	}
	return lines.Err()
}

// bound tells how a port is taken, "" if it is not: as a task would be that binds
// to it at any address. A connection that was closed here does not count, since
// who listens says that it does not.
func bound(port int64) (how string) {
	for _, p := range []struct {
		name        string
		kind, reuse int
	}{{"tcp", unix.SOCK_STREAM, 1}, {"udp", unix.SOCK_DGRAM, 0}} {
		for _, any := range []unix.Sockaddr{&unix.SockaddrInet6{Port: int(port)}, &unix.SockaddrInet4{Port: int(port)}} {
			family := unix.AF_INET
			if _, six := any.(*unix.SockaddrInet6); six {
				family = unix.AF_INET6
			}
			fd, err := unix.Socket(family, p.kind|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				continue // no IPv6, or no more files: not the port's fault
			}
			err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, p.reuse), unix.Bind(fd, any))
			unix.Close(fd)
			if errors.Is(err, unix.EADDRINUSE) {
				return p.name
			}
		}
	}
	return ""
}
