package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/doctor"
	"github.com/mesita/mesita/cluster/localip"
	"github.com/mesita/mesita/cluster/tlsconf"
)

// Preflight looks at what a node with that configuration will need before it starts or
// joins. It changes nothing.
func Preflight(ctx context.Context, cfg Config) ([]api.Check, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	pin := ""
	if cfg.Token != "" {
		tok, err := api.ParseJoinToken(cfg.Token)
		if err != nil {
			return nil, err
		}
		pin = tok.Pin
	}
	listen, err := cfg.listenAddr()
	if err != nil {
		return nil, err
	}
	dir := cfg.DataDir
	for { // it may not be there yet
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	out := []api.Check{doctor.Kernel(), freePort(listen), cfg.futureAddress(ctx, listen), doctor.Disk(ctx, dir), doctor.Space(dir)}
	for _, addr := range cfg.JoinAddrs {
		out = append(out, wayTo(ctx, withPort(addr), pin, cfg.Wall)...)
	}
	return out, nil
}

func freePort(addr *net.TCPAddr) api.Check {
	tcp, udp, err := listenBoth(addr)
	if api.ErrorCode(err) == api.CodeConflict {
		return doctor.Fail("port", "stop the program that has it (ss -lnp), or give another --listen", "%s is taken", addr)
	}
	if err != nil {
		return doctor.Fail("port", "give an address of this machine with --listen", "%v", err)
	}
	_ = errors.Join(tcp.Close(), udp.Close()) // they were only tried
	return doctor.OK("port", "%d is free for TCP and UDP", addr.Port)
}

func (c *Config) futureAddress(ctx context.Context, listen *net.TCPAddr) api.Check {
	towards := make([]string, 0, len(c.JoinAddrs))
	for _, addr := range c.JoinAddrs {
		towards = append(towards, withPort(addr))
	}
	addr, found := c.advertise(ctx, listen, towards)
	host, _, _ := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	switch {
	case ip != nil && ip.IsLoopback():
		return doctor.Warn("address", "give one with --listen, unless all nodes are on this machine",
			"the others would be told %s, which leads nowhere but here", addr)
	case ip != nil && !localip.Has(ip):
		return doctor.Warn("address", "give another --advertise, unless a router leads from there to this machine",
			"%s is not of this machine", addr)
	case found.Choice() != "":
		return doctor.OK("address", "%s", found.Choice())
	}
	return doctor.OK("address", "%s", addr)
}

// wayTo is whether a node answers at an address, whether it is of the cluster with that
// pin, if there is one, and whether its clock is this one's.
func wayTo(ctx context.Context, addr, pin string, wall func() time.Time) []api.Check {
	ctx, cancel := context.WithTimeout(ctx, 2*wayWait)
	defer cancel()
	conf := tlsconf.AnybodyConfig()
	if pin != "" {
		conf = tlsconf.PinnedConfig(pin)
	}
	conf.NextProtos = []string{"http/1.1"}
	at, err := dateAt(ctx, addr, conf)
	if errors.Is(err, tlsconf.ErrPinMismatch) {
		return []api.Check{doctor.Fail("join", "get a token with `mesita node token` on a node of the cluster that you mean",
			"the node at %s is not of the token's cluster", addr)}
	}
	if err != nil {
		return []api.Check{doctor.Fail("join", fmt.Sprintf("is mesita running there, and port %s open for TCP?", portOf(addr)),
			"no answer from %s: %v", addr, err)}
	}
	text := "a node answers at " + addr + " by TCP; UDP can be tried once this one joined"
	if pin != "" {
		text = "the cluster of the token answers at " + addr + " by TCP; UDP can be tried once this one joined"
	}
	clock := doctor.OK("clock", "within %s of that of %s", clockOff, addr)
	if off := at.Sub(wall()); off.Abs() > clockOff {
		clock = doctor.Fail("clock", "set it by NTP: certificates and logs go by it", "that of %s is %s", addr, offBy(off))
	}
	return []api.Check{doctor.OK("join", "%s", text), clock}
}

func dateAt(ctx context.Context, addr string, conf *tls.Config) (time.Time, error) {
	t := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: conf}).DialContext(ctx, "tcp", addr)
	}, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/v1/ca", nil)
	if err != nil {
		return time.Time{}, err
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return time.Time{}, err
	}
	defer res.Body.Close()
	at, err := http.ParseTime(res.Header.Get("Date"))
	return at.Add(500 * time.Millisecond), err // it has whole seconds
}
