package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/localip"
	"github.com/mesita/mesita/executor/clock"
)

const defaultPorts = "20000-29999" // for tasks

// Config is what a node needs to start. Zero values get their defaults from
// withDefaults.
type Config struct {
	Name      string
	DataDir   string
	Listen    string // IP:PORT of the one port
	Advertise string // IP:PORT that others reach; "" = found from Listen
	Socket    string
	HTTP      string // plain HTTP on loopback, "" = none
	// MesosHTTP is where frameworks are served in the clear, IP:PORT; "" = nowhere. They
	// show a client token, unless MesosAnonymous.
	MesosHTTP      string
	MesosAnonymous bool
	// MesosAgentPort is where executors of frameworks, and operators of this node in the words
	// of Mesos, are served on loopback beside the port that executors are told; 0 = nowhere. MesosExecutorAuth has them prove who they are.
	MesosAgentPort    int
	MesosExecutorAuth bool
	Attrs             map[string]string
	Resources         string // such as "cpus=4,mem=8GiB"; what is not named is found
	// MemOvercommit is how many times the node's memory the limits of its tasks may
	// add up to, from 1 to 10; "" = 2.
	MemOvercommit string
	// DiskReserve is how much of the data folder's disk tasks leave free, such as
	// "2GiB"; "" = 1 GiB, or 5 % of the disk if that is less.
	DiskReserve string
	VoterOnly   bool
	AllowRoot   bool // users' tasks may be root here, if their partition lets them
	Dev         bool // one node, HTTP needs no credentials, root is allowed

	Seeds     []string // addresses of nodes of this one's cluster, beside those that it remembers
	Rejoin    bool     // continue with the age of the cluster that answers
	JoinAddrs []string // addresses of nodes to join; empty = start or resume
	Token     string   // to join with

	ClusterName    string // of a new cluster; "" = chosen
	Slice          string // top slice; default mesita.slice
	CgroupRoot     string // "" = found
	RaftMultiplier float64
	Grace          time.Duration // between the two questions to a silent node before its tasks are replaced

	EventBytes int64         // of the history of events; 0 = history.DefaultBytes
	EventAge   time.Duration // how far back it goes; 0 = history.DefaultAge

	AuditBytes int64         // of the audit; 0 = audit.DefaultBytes
	AuditAge   time.Duration // how far back it goes; 0 = audit.DefaultAge

	LogKeep, FolderKeep time.Duration // 0 = as the executor has it
	LogTotal            int64         // 0 = as the executor has it
	ProgramCache        int64         // 0 = as the executor has it
	MaxStreams          int           // 0 = server.DefaultStreams

	Limits map[string]string // by their names, as they are written; they go before the fields above

	Version string
	Log     *slog.Logger
	Now     func() time.Time // default: Wall without its jumps, what all waits and commands go by
	Wall    func() time.Time // the machine's clock, which certificates go by; default time.Now
}

// DefaultGrace lies between two questions to a silent node.
const DefaultGrace = 500 * time.Millisecond

func (c Config) withDefaults() (Config, error) {
	set := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	set(&c.DataDir, api.DefaultDataDir)
	set(&c.Socket, api.DefaultSocket)
	set(&c.Listen, fmt.Sprintf("0.0.0.0:%d", api.DefaultPort))
	set(&c.Slice, "mesita.slice")
	set(&c.Version, "dev")
	set(&c.MemOvercommit, "2")
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.RaftMultiplier == 0 {
		c.RaftMultiplier = 1
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Wall == nil {
		c.Wall = func() time.Time { return time.Now().UTC() }
	}
	if c.Now == nil {
		c.Now = clock.NewSteady(c.Wall, nil, c.Log).Now
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return c, api.FieldErrorf("data", "%v", err)
	}
	c.DataDir = dir
	if err := c.limit(); err != nil {
		return c, err
	}
	return c, c.validate()
}

func (c *Config) validate() error {
	if c.Name != "" {
		if err := api.ValidateName("name", c.Name); err != nil {
			return err
		}
	}
	if err := api.ValidateAttrs("attr", c.Attrs); err != nil {
		return err
	}
	for k := range c.Attrs {
		if strings.HasPrefix(k, "isolation.") || strings.HasPrefix(k, "node.") {
			return api.FieldErrorf("attr", "%q is set by mesita itself: choose another name", k)
		}
	}
	if _, err := c.listenAddr(); err != nil {
		return err
	}
	if c.Advertise != "" {
		if at, err := netip.ParseAddrPort(withPort(c.Advertise)); err != nil || at.Port() == 0 || at.Addr().IsUnspecified() {
			return api.FieldErrorf("advertise", "%q is not an address: write the IP or IP:PORT at which other nodes reach this one", c.Advertise)
		}
	}
	if c.HTTP != "" {
		host, _, err := net.SplitHostPort(c.HTTP)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			return api.FieldErrorf("http", "%q is not on loopback: plain HTTP is only for 127.0.0.1:PORT or [::1]:PORT; the port %d speaks HTTPS", c.HTTP, api.DefaultPort)
		}
	}
	if c.MesosHTTP != "" {
		host, port, err := net.SplitHostPort(c.MesosHTTP)
		if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 || host != "" && net.ParseIP(host) == nil {
			return api.FieldErrorf("mesos-http", "%q is not an address of this machine to listen on: write IP:PORT, such as 10.0.0.11:5051", c.MesosHTTP)
		}
	}
	if c.MesosAnonymous && c.MesosHTTP == "" {
		return api.FieldErrorf("mesos-anonymous", "is for the address of --mesos-http, which is not given: give one, or leave it out")
	}
	if c.MesosAgentPort < 0 || c.MesosAgentPort > 65535 {
		return api.FieldErrorf("mesos-agent-port", "%d is not a port: write one from 1 to 65535, such as 5051", c.MesosAgentPort)
	}
	for _, s := range c.Seeds {
		host, port, err := net.SplitHostPort(withPort(s))
		if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 1 || n > 65535 || host == "" {
			return api.FieldErrorf("seed", "%q is not an address: write HOST or HOST:PORT of a node that runs", s)
		}
	}
	if w, err := api.ParseWeight(c.MemOvercommit); err != nil || w < 1000 || w > 10_000 {
		return api.FieldErrorf("mem-overcommit", "%q is not a number from 1 to 10: 1 lets no task use more memory than it is guaranteed", c.MemOvercommit)
	}
	if reserve, err := c.diskReserve(); err != nil || c.DiskReserve != "" && reserve < minDiskReserve {
		return api.FieldErrorf("disk-reserve", "%q is not a size of 16MiB or more, such as 2GiB: without it one task stops all work of the node", c.DiskReserve)
	}
	if _, err := api.ParseResources(c.Resources); err != nil {
		return api.InField("resources", err)
	}
	if c.RaftMultiplier < 0.5 || c.RaftMultiplier > 20 {
		return api.FieldErrorf("raft-multiplier", "%g is not within 0.5 to 20", c.RaftMultiplier)
	}
	return nil
}

// listenAddr is the address to listen on, its port filled in.
func (c *Config) listenAddr() (*net.TCPAddr, error) {
	s := c.Listen
	if _, _, err := net.SplitHostPort(s); err != nil {
		s = net.JoinHostPort(strings.Trim(s, "[]"), strconv.Itoa(api.DefaultPort))
	}
	host, port, _ := net.SplitHostPort(s)
	n, err := strconv.Atoi(port)
	ip := net.ParseIP(host)
	if err != nil || n < 0 || n > 65535 || ip == nil && host != "" {
		return nil, api.FieldErrorf("listen", "%q is not an IP:PORT", c.Listen)
	}
	return &net.TCPAddr{IP: ip, Port: n}, nil
}

// advertise is the address under which others reach this node, given the one
// it listens on; it is also in the second if it was not said but found.
func (c *Config) advertise(ctx context.Context, bound *net.TCPAddr, towards []string) (string, localip.Found) {
	if c.Advertise != "" {
		return withPort(c.Advertise), localip.Found{}
	}
	ip, found := bound.IP, localip.Found{}
	if ip == nil || ip.IsUnspecified() {
		found = localip.Choose(ctx, ip.To4() != nil, towards)
		ip = found.IP
	}
	return net.JoinHostPort(ip.String(), strconv.Itoa(bound.Port)), found
}

func withPort(addr string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(strings.Trim(addr, "[]"), strconv.Itoa(api.DefaultPort))
}

// defaultName is the machine's host name, made to fit.
func defaultName() string {
	h, _ := os.Hostname()
	h, _, _ = strings.Cut(strings.ToLower(h), ".")
	h = strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, h), "-")
	if api.ValidateName("name", h) != nil {
		return "node"
	}
	return h
}

// resources is what this node offers: what the machine has, overridden by what
// the operator said.
func (c *Config) resources() (api.Resources, error) {
	if c.VoterOnly {
		return api.Resources{}, nil
	}
	said, err := api.ParseResources(c.Resources)
	if err != nil {
		return said, api.InField("resources", err)
	}
	has := detectResources(c.DataDir)
	if said.CPUs != 0 {
		has.CPUs = said.CPUs
	}
	if said.Mem != 0 {
		has.Mem = said.Mem
	}
	if said.Disk != 0 {
		has.Disk = said.Disk
	}
	if said.GPUs != 0 {
		has.GPUs = said.GPUs
	}
	if said.Ports != nil {
		has.Ports = said.Ports
	}
	has.Custom = maps.Clone(said.Custom)
	return has, api.InField("resources", has.Validate())
}

// pins is how many whole CPUs of the node may be given to tasks as their own: one
// always stays for the others, whose CPUs are never more than what is left, as
// all together they hold no more than what the node offers. Where that is more
// than the machine has, they could be.
func pins(offered api.MilliCPU, host interface{ Cores() []int }) int64 {
	has := int64(len(host.Cores()))
	if int64(offered) > 1000*has {
		return 0
	}
	return max(min(int64(offered/1000), has-1), 0)
}

// minDiskReserve is what the node's own files may need at any time.
const minDiskReserve = 16 << 20

// diskReserve is 0 if it follows from the disk.
func (c *Config) diskReserve() (api.Bytes, error) {
	if c.DiskReserve == "" {
		return 0, nil
	}
	return api.ParseBytes(c.DiskReserve)
}

// memExtra is by how much the limits of the node's tasks may exceed its memory,
// if this machine can keep what each of them is guaranteed.
func (c *Config) memExtra(mem api.Bytes, host interface{ LendsMemory() bool }) api.Bytes {
	w, err := api.ParseWeight(c.MemOvercommit)
	if err != nil || !host.LendsMemory() {
		return 0
	}
	return mem / 1000 * api.Bytes(w-1000)
}
