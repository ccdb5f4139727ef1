package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// A schema is what the table says, in its order.
type schema struct {
	types []*typ
	named map[string]*typ // by package and name, as fields refer to them
}

// A typ is a message or an enum.
type typ struct {
	pkg, name string // mesos.v1, Offer.Operation
	fields    []field
	values    []value
	entry     bool // of a map
}

type field struct {
	number           int
	name, label, typ string
	def              string
	hasDefault, old  bool
}

type value struct {
	name   string
	number int
}

// leftOut are messages that mesita does not carry: their fields are skipped as
// unknown ones are, whatever names them stays visible by its type.
var leftOut = []string{
	"mesos.v1.CSIPlugin", "mesos.v1.Volume.Source.CSIVolume", // storage plugins
	"mesos.v1.ResourceProviderInfo", "mesos.v1.agent.Call.AddResourceProviderConfig", "mesos.v1.agent.Call.UpdateResourceProviderConfig",
	"mesos.v1.agent.Call.RemoveResourceProviderConfig", "mesos.v1.agent.Call.MarkResourceProviderGone",
	"mesos.v1.agent.Response.GetResourceProviders", "mesos.v1.master.Response.GetAgents.Agent.ResourceProvider",
	"mesos.v1.PerfStatistics", "mesos.v1.SNMPStatistics", "mesos.v1.TrafficControlStatistics", // counters that no isolator here reads
	"mesos.v1.IpStatistics", "mesos.v1.IcmpStatistics", "mesos.v1.TcpStatistics", "mesos.v1.UdpStatistics",
	"mesos.v1.Status", "mesos.v1.RateLimit", "mesos.v1.Credentials", "mesos.v1.ResourceUsage", // of the driver and of flags, in no call
	"mesos.v1.scheduler.APIResult", "mesos.v1.DeviceWhitelist",
}

func isLeftOut(name string) bool {
	return slices.ContainsFunc(leftOut, func(p string) bool { return strings.HasPrefix(name, p) })
}

// read takes the table apart: tab-separated columns below a line of titles.
func read(r io.Reader) (*schema, error) {
	s := &schema{named: map[string]*typ{}}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		if n == 1 || lines.Text() == "" {
			continue
		}
		col := strings.Split(lines.Text(), "\t")
		if len(col) != 9 {
			return nil, fmt.Errorf("line %d: %d columns, want 9", n, len(col))
		}
		full := col[0] + "." + col[1]
		t := s.named[full]
		if t == nil {
			t = &typ{pkg: col[0], name: col[1], entry: strings.HasSuffix(col[1], "Entry")}
			s.named[full] = t
			s.types = append(s.types, t)
		}
		if err := t.add(col[2:]); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return s, cmp.Or(lines.Err(), s.check())
}

func (t *typ) add(col []string) error {
	kind, name, note := col[0], col[2], col[6]
	if kind == "message" {
		return nil // it has no fields
	}
	number, err := strconv.Atoi(col[1])
	if err != nil {
		return err
	}
	switch kind {
	case "enum":
		t.values = append(t.values, value{name, number})
	case "field":
		t.fields = append(t.fields, field{
			number: number, name: name, label: col[3], typ: col[4],
			def: col[5], hasDefault: col[5] != "", old: note == "deprecated",
		})
	default:
		return fmt.Errorf("kind %q is none of enum, field and message", kind)
	}
	return nil
}

// check looks whether each field has a type that exists.
func (s *schema) check() error {
	for _, t := range s.types {
		for _, f := range t.fields {
			if _, scalar := scalars[f.typ]; !scalar && s.named[f.typ] == nil {
				return fmt.Errorf("%s.%s.%s: there is no type %s", t.pkg, t.name, f.name, f.typ)
			}
		}
	}
	return nil
}

// scalars are protobuf's types and Go's.
var scalars = map[string]string{
	"string": "string", "bool": "bool", "bytes": "[]byte", "double": "float64",
	"int32": "int32", "int64": "int64", "uint32": "uint32", "uint64": "uint64",
}
