package calm

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"unsafe"
)

// PacketConn is a UDP socket.
type PacketConn struct {
	*net.UDPConn
	raw syscall.RawConn
	six bool // the socket is one of IPv6, which carries IPv4 too
	in  datagram
	out datagram
}

var _ net.PacketConn = (*PacketConn)(nil)

// datagram is one direction.
type datagram struct {
	mu    sync.Mutex
	b     []byte
	addr  syscall.RawSockaddrInet6 // the larger of the two kinds
	size  uint32                   // of addr
	n     int
	errno syscall.Errno
	step  func(fd uintptr) bool
}

// NewPacketConn wraps a socket.
func NewPacketConn(c *net.UDPConn) (*PacketConn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("use a UDP socket: %w", err)
	}
	p := &PacketConn{UDPConn: c, raw: raw}
	p.in.step, p.out.step = p.in.receive, p.out.send
	domain, failed := 0, error(nil)
	if err := raw.Control(func(fd uintptr) {
		domain, failed = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_DOMAIN)
	}); err != nil {
		return nil, fmt.Errorf("use a UDP socket: %w", err)
	}
	if failed != nil {
		return nil, os.NewSyscallError("getsockopt", failed)
	}
	p.six = domain == syscall.AF_INET6
	return p, nil
}

func (p *PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	d := &p.in
	d.mu.Lock()
	defer d.mu.Unlock()
	d.b = b
	err := p.raw.Read(d.step)
	n, errno := d.done()
	switch {
	case err != nil:
		return 0, nil, err
	case errno != 0:
		return 0, nil, p.failed("recvfrom", errno)
	}
	return n, d.from(), nil
}

func (p *PacketConn) WriteTo(b []byte, to net.Addr) (int, error) {
	a, ok := to.(*net.UDPAddr)
	if !ok || a.Zone != "" {
		return p.UDPConn.WriteTo(b, to)
	}
	d := &p.out
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.aim(a.AddrPort(), p.six) {
		return p.UDPConn.WriteTo(b, to) // which says what is wrong with the address
	}
	d.b = b
	err := p.raw.Write(d.step)
	n, errno := d.done()
	if err == nil && errno != 0 {
		err = p.failed("sendto", errno)
	}
	return n, err
}

func (p *PacketConn) failed(op string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: "udp", Source: p.LocalAddr(), Err: os.NewSyscallError(op, errno)}
}

// done ends a call; d.mu is held.
func (d *datagram) done() (n int, errno syscall.Errno) {
	n, errno = d.n, d.errno
	d.b, d.n, d.errno = nil, 0, 0
	return n, errno
}

func (d *datagram) receive(fd uintptr) bool {
	d.size = syscall.SizeofSockaddrInet6
	return d.call(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&d.size)))
}

func (d *datagram) send(fd uintptr) bool { return d.call(syscall.SYS_SENDTO, fd, uintptr(d.size)) }

// call makes one transfer; false = the socket is not ready.
func (d *datagram) call(trap, fd, size uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall6(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(d.b))), uintptr(len(d.b)), 0, uintptr(unsafe.Pointer(&d.addr)), size)
		switch errno {
		case 0:
			d.n = int(n)
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			d.errno = errno
			return true
		}
	}
}

// aim notes where the next packet goes; false = a socket of this kind does not
// reach there.
func (d *datagram) aim(to netip.AddrPort, six bool) bool {
	addr := to.Addr().Unmap()
	if !six {
		if !addr.Is4() {
			return false
		}
		a := (*syscall.RawSockaddrInet4)(unsafe.Pointer(&d.addr))
		*a = syscall.RawSockaddrInet4{Family: syscall.AF_INET, Addr: addr.As4()}
		setPort(&a.Port, to.Port())
		d.size = syscall.SizeofSockaddrInet4
		return true
	}
	if !addr.IsValid() {
		return false
	}
	d.addr = syscall.RawSockaddrInet6{Family: syscall.AF_INET6, Addr: addr.As16()}
	setPort(&d.addr.Port, to.Port())
	d.size = syscall.SizeofSockaddrInet6
	return true
}

// from is who sent the last packet.
func (d *datagram) from() *net.UDPAddr {
	if d.addr.Family == syscall.AF_INET {
		a := (*syscall.RawSockaddrInet4)(unsafe.Pointer(&d.addr))
		return &net.UDPAddr{IP: net.IP(append([]byte(nil), a.Addr[:]...)), Port: int(port(&a.Port))}
	}
	out := &net.UDPAddr{IP: net.IP(append([]byte(nil), d.addr.Addr[:]...)), Port: int(port(&d.addr.Port))}
	if d.addr.Scope_id != 0 {
		out.Zone = strconv.Itoa(int(d.addr.Scope_id))
	}
	return out
}

// Ports are in the order of the network, whatever this machine's is.
func setPort(field *uint16, port uint16) {
	*(*[2]byte)(unsafe.Pointer(field)) = [2]byte{byte(port >> 8), byte(port)}
}

func port(field *uint16) uint16 {
	b := *(*[2]byte)(unsafe.Pointer(field))
	return uint16(b[0])<<8 | uint16(b[1])
}
