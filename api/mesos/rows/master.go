package rows

import (
	"net"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// Master is a leader as clients are told of it: an id for each time that it leads, and the
// node; nil if that is not known.
func Master(id, name string, n *api.Node) *v1.MasterInfo {
	// Nothing newer than clients know: mesos-go ends at an enumeration that is new to it.
	m := &v1.MasterInfo{ID: id, Port: api.DefaultPort, Hostname: &name, Version: new(Version)}
	for _, c := range []v1.MasterInfoCapabilityType{v1.MasterInfoCapabilityTypeAgentUpdate, v1.MasterInfoCapabilityTypeAgentDraining} {
		m.Capabilities = append(m.Capabilities, &v1.MasterInfoCapability{Type: &c})
	}
	if n == nil {
		return m
	}
	ip, port, ok := Address(n)
	if !ok {
		return m
	}
	m.Port = uint32(port)
	if four := net.ParseIP(ip).To4(); four != nil {
		m.IP = uint32(four[0]) | uint32(four[1])<<8 | uint32(four[2])<<16 | uint32(four[3])<<24
	}
	m.PID = new(PID("master", n))
	m.Address = &v1.Address{Hostname: m.Hostname, IP: &ip, Port: int32(port)}
	return m
}
