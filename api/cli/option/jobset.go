package option

import (
	"github.com/mesita/mesita/api"
	"github.com/urfave/cli/v2"
)

// JobChange is what the flags of `job set` ask for.
func JobChange(c *cli.Context) (change api.JobChange, err error) {
	p := Parser{C: c}
	if c.IsSet("time") {
		change.Time = new(api.Duration)
		if c.String("time") != none {
			*change.Time = Parse(&p, "time", api.ParseDuration)
		}
	}
	if c.IsSet("priority") {
		change.Priority = new(c.Int("priority"))
	}
	if c.IsSet("partition") {
		change.Partition = new(c.String("partition"))
	}
	if c.IsSet("cpus") {
		change.CPUs = new(Parse(&p, "cpus", api.ParseCPU))
	}
	if c.IsSet("mem") {
		change.Mem = new(Parse(&p, "mem", api.ParseBytes))
	}
	return change, p.Err
}
