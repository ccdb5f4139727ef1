package rows

import (
	"fmt"
	"math"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// Terminal is the one that a container has, nil if it has none. All else that a container
// may be, this version does not have: what ran without it would not be what was asked for.
func Terminal(c *v1.ContainerInfo) (*api.Terminal, error) {
	if c == nil {
		return nil, nil
	}
	for _, more := range []struct {
		name string
		has  bool
	}{
		{"type", c.Type != v1.ContainerInfoTypeMesos},
		{"volumes", len(c.Volumes) > 0},
		{"hostname", v1.Get(c.Hostname) != ""},
		{"docker", c.Docker != nil},
		{"mesos.image", c.Mesos != nil && c.Mesos.Image != nil},
		{"network_infos", len(c.NetworkInfos) > 0},
		{"linux_info", c.LinuxInfo != nil},
		{"rlimit_info", c.RLimitInfo != nil},
	} {
		if more.has {
			return nil, fmt.Errorf("a container of type MESOS has no more than 'tty_info' in this version of mesita: 'container.%s' comes with a later one", more.name)
		}
	}
	if c.TTYInfo == nil {
		return nil, nil
	}
	t := &api.Terminal{}
	if w := c.TTYInfo.WindowSize; w != nil {
		if w.Rows > math.MaxUint16 || w.Columns > math.MaxUint16 {
			return nil, fmt.Errorf("'container.tty_info.window_size' has %d rows and %d columns: at most %d are possible of each", w.Rows, w.Columns, math.MaxUint16)
		}
		t.Rows, t.Cols = int(w.Rows), int(w.Columns)
	}
	return t, nil
}
