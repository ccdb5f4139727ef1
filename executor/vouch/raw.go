package vouch

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// rawSocket receives copies of the probes to one UDP port, and sends from that
// port, without binding it.
type rawSocket struct {
	*net.IPConn
	v6   bool
	port uint16
}

// peer is who a packet came from, and the address it was sent to.
type peer struct {
	from netip.AddrPort
	zone string
	to   netip.Addr
}

const (
	udpHeader = 8
	queueSize = 32 << 10 // bytes: some thirty probes
)

func openRaw(at netip.AddrPort) (*rawSocket, error) {
	v6 := at.Addr().Is6()
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "probes")
	defer f.Close() // net has a copy
	if err := setUp(fd, at); err != nil {
		return nil, err
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	ip, ok := c.(*net.IPConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("a raw socket became a %T", c)
	}
	return &rawSocket{ip, v6, at.Port()}, nil
}

func setUp(fd int, at netip.AddrPort) error {
	prog := filter(at)
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}); err != nil {
		return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, queueSize) // a larger queue is not harm
	if at.Addr().Is6() {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
			return os.NewSyscallError("setsockopt IPV6_RECVPKTINFO", err)
		}
		// Where in what is sent the kernel puts the checksum.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_CHECKSUM, 6); err != nil {
			return os.NewSyscallError("setsockopt IPV6_CHECKSUM", err)
		}
	}
	if at.Addr().IsUnspecified() {
		return nil
	}
	var sa unix.Sockaddr
	if at.Addr().Is6() {
		s6 := &unix.SockaddrInet6{Addr: at.Addr().As16()}
		if i, err := net.InterfaceByName(at.Addr().Zone()); err == nil { // else there is no zone
			s6.ZoneId = uint32(i.Index)
		}
		sa = s6
	} else {
		sa = &unix.SockaddrInet4{Addr: at.Addr().As4()}
	}
	return os.NewSyscallError("bind", unix.Bind(fd, sa))
}

// filter lets probes to the port through, by port, size and magic. The packet
// begins with the IP header, or in IPv6 with the UDP header.
func filter(at netip.AddrPort) []unix.SockFilter {
	const (
		ldxIPLen = unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH
		ldxZero  = unix.BPF_LDX | unix.BPF_W | unix.BPF_IMM
		ldHalf   = unix.BPF_LD | unix.BPF_H | unix.BPF_IND
		ldWord   = unix.BPF_LD | unix.BPF_W | unix.BPF_IND
		jeq      = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret      = unix.BPF_RET | unix.BPF_K
	)
	begin := unix.SockFilter{Code: ldxIPLen}
	if at.Addr().Is6() {
		begin.Code = ldxZero
	}
	return []unix.SockFilter{
		begin,
		{Code: ldHalf, K: 2},
		{Code: jeq, K: uint32(at.Port()), Jf: 5},
		{Code: ldHalf, K: 4},
		{Code: jeq, K: udpHeader + probeSize, Jf: 3},
		{Code: ldWord, K: udpHeader},
		{Code: jeq, K: binary.BigEndian.Uint32([]byte(probeMagic)), Jf: 1},
		{Code: ret, K: 0xffff},
		{Code: ret, K: 0},
	}
}

// receive returns the next packet; nil for what came before there was a filter.
func (s *rawSocket) receive(b []byte) ([]byte, peer, error) {
	oob := make([]byte, 64)
	n, oobn, _, addr, err := s.ReadMsgIP(b, oob)
	if err != nil {
		return nil, peer{}, err
	}
	from, ok := netip.AddrFromSlice(addr.IP)
	if !ok {
		return nil, peer{}, nil
	}
	p := peer{from: netip.AddrPortFrom(from.Unmap(), 0), zone: addr.Zone}
	b = b[:n]
	if s.v6 {
		p.to = localAddr(oob[:oobn])
	} else {
		if len(b) < 20 || len(b) < int(b[0]&15)*4 {
			return nil, peer{}, nil
		}
		p.to = netip.AddrFrom4([4]byte(b[16:20]))
		b = b[int(b[0]&15)*4:]
	}
	if len(b) != udpHeader+probeSize || binary.BigEndian.Uint16(b[2:]) != s.port {
		return nil, peer{}, nil
	}
	p.from = netip.AddrPortFrom(p.from.Addr(), binary.BigEndian.Uint16(b))
	return b[udpHeader:], p, nil
}

// localAddr is the address an IPv6 packet was sent to.
func localAddr(oob []byte) netip.Addr {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range msgs {
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 16 {
			return netip.AddrFrom16([16]byte(m.Data[:16]))
		}
	}
	return netip.Addr{}
}

// reply sends b from the address and port that the packet was sent to.
func (s *rawSocket) reply(b []byte, p peer) error {
	d := make([]byte, udpHeader, udpHeader+len(b))
	binary.BigEndian.PutUint16(d, s.port)
	binary.BigEndian.PutUint16(d[2:], p.from.Port())
	binary.BigEndian.PutUint16(d[4:], uint16(udpHeader+len(b)))
	d = append(d, b...)
	var oob []byte
	if s.v6 {
		if p.to.IsValid() {
			oob = unix.PktInfo6(&unix.Inet6Pktinfo{Addr: p.to.As16()})
		}
	} else {
		binary.BigEndian.PutUint16(d[6:], checksum(p.to, p.from.Addr(), d))
		oob = unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: p.to.As4()})
	}
	_, _, err := s.WriteMsgIP(d, oob, &net.IPAddr{IP: p.from.Addr().AsSlice(), Zone: p.zone})
	return err
}

// checksum is that of a UDP packet over IPv4 (RFC 768).
func checksum(from, to netip.Addr, d []byte) uint16 {
	a, b := from.As4(), to.As4()
	pseudo := append(append(a[:], b[:]...), 0, unix.IPPROTO_UDP, d[4], d[5])
	var sum uint32
	for _, p := range [][]byte{pseudo, d} {
		for i := 0; i+1 < len(p); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(p[i:]))
		}
		if len(p)%2 == 1 {
			sum += uint32(p[len(p)-1]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if sum == 0xffff {
		return 0xffff // 0 would say that there is none
	}
	return ^uint16(sum)
}
