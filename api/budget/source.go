package budget

import "net/netip"

// AddressOf is the address that something comes from, without its port. Callers are
// charged by SourceOf; this tells those in one network apart that are known.
func AddressOf(addr string) string {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return addr
	}
	return ap.Addr().Unmap().WithZone("").String()
}

// SourceOf is the address that what comes from there is charged to: without its
// port, and of an IPv6 address the /64, which one user usually has to itself.
func SourceOf(addr string) string {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return addr
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}
