// Package localip finds the address of this machine by which others reach it, and
// notices when the machine's addresses change.
//
// It owns no state and decides nothing about a node. Package cluster calls it at each
// start, and follows it while the node tells others an address that was found.
package localip

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Addr is an address of this machine.
type Addr struct {
	IP        net.IP
	Interface string
}

// Found is the address that was chosen, and those that might have been.
type Found struct {
	Addr
	Others []Addr
}

// namedAddrs is how many addresses that were not chosen are named.
const namedAddrs = 2

// Choice says which address was taken, and which others there are; "" if there is none.
func (f Found) Choice() string {
	if len(f.Others) == 0 {
		return ""
	}
	var names []string
	for _, o := range f.Others[:min(len(f.Others), namedAddrs)] {
		names = append(names, fmt.Sprintf("%s (%s)", o.IP, o.Interface))
	}
	if more := len(f.Others) - namedAddrs; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return fmt.Sprintf("%s (%s), as the kernel routes; --advertise takes another: %s", f.IP, f.Interface, strings.Join(names, ", "))
}

// dialWait bounds how long the name of a destination is looked up.
const dialWait = 2 * time.Second

// anywhere are addresses that nobody has, which leave by the default route.
var anywhere = []string{"192.0.2.1:9", "[2001:db8::1]:9"}

// Choose takes the address from which the kernel would send to the first of those that
// it has a way to, IP:PORT or HOST:PORT, and to none of them: by the default route.
// Without any route it is the first address that is not of a bridge or of a tunnel, as
// those of containers are, else any, and at last loopback. With v4 it is of IPv4.
// Nothing is sent. No address at all leaves the IP nil.
func Choose(ctx context.Context, v4 bool, towards []string) Found {
	all := addrs(v4)
	of := func(ip net.IP) int { return slices.IndexFunc(all, func(a Addr) bool { return a.IP.Equal(ip) }) }
	for _, to := range append(slices.Clone(towards), anywhere...) {
		source, dest := sourceTo(ctx, v4, to)
		if i := of(source); i >= 0 && of(dest) < 0 { // what is sent to oneself says nothing
			return Found{all[i], slices.Delete(slices.Clone(all), i, i+1)}
		}
	}
	if len(all) > 0 {
		return Found{all[0], all[1:]}
	}
	if v4 || !Has(net.IPv6loopback) {
		return Found{Addr: Addr{IP: net.IPv4(127, 0, 0, 1)}}
	}
	return Found{Addr: Addr{IP: net.IPv6loopback}}
}

// sourceTo is from where to where the kernel would send a packet, nil if nowhere.
func sourceTo(ctx context.Context, v4 bool, to string) (source, dest net.IP) {
	network := "udp"
	if v4 {
		network = "udp4"
	}
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, network, to)
	if err != nil {
		return nil, nil
	}
	defer c.Close() // nothing was sent
	return c.LocalAddr().(*net.UDPAddr).IP, c.RemoteAddr().(*net.UDPAddr).IP
}

// addrs are the addresses of the machine that others may know, those of bridges and
// tunnels last.
func addrs(v4 bool) []Addr {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var out []Addr
	for _, i := range ifs {
		list, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 {
			continue
		}
		for _, a := range list {
			if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && (!v4 || n.IP.To4() != nil) {
				out = append(out, Addr{n.IP, i.Name})
			}
		}
	}
	made := madeHere()
	sort.SliceStable(out, func(i, j int) bool { return !made(out[i].Interface) && made(out[j].Interface) })
	return out
}

// madeHere reports of an interface whether it leads to what is on this machine, or
// through something else: a bridge, a tunnel.
func madeHere() func(name string) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return func(string) bool { return false }
	}
	drivers := map[string]bool{}
	defer unix.Close(fd)
	ifs, _ := net.Interfaces() // without them there are no addresses either
	for _, i := range ifs {
		info, err := unix.IoctlGetEthtoolDrvinfo(fd, i.Name)
		if err == nil {
			drivers[i.Name] = slices.Contains([]string{"bridge", "tun", "dummy"}, unix.ByteSliceToString(info.Driver[:]))
		}
	}
	return func(name string) bool { return drivers[name] }
}

// Has reports whether an address is of this machine. Where that is not known it is.
func Has(ip net.IP) bool {
	list, err := net.InterfaceAddrs()
	if ip.IsLoopback() {
		return true // all of them, and one is listed
	}
	return err != nil || slices.ContainsFunc(list, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}
