package option

import (
	"strconv"

	"github.com/mesita/mesita/api"
	"github.com/urfave/cli/v2"
)

// JobChange is what the flags of `job set` ask for.
func JobChange(c *cli.Context) (change api.JobChange, err error) {
	p := Parser{C: c}
	if c.IsSet("time") {
		change.Time = new(api.Duration)
		if c.String("time") != none {
			*change.Time = Parse(&p, "time", api.ParseSpan)
		}
	}
	if c.IsSet("priority") {
		change.Priority = new(int)
		if text := c.String("priority"); text != none {
			if *change.Priority, err = strconv.Atoi(text); err != nil {
				return change, api.FieldErrorf("priority", "%q is not a whole number: write one, or none for the usual one", text)
			}
		}
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
	if c.IsSet("mem-limit") {
		change.MemLimit = new(api.Bytes)
		if c.String("mem-limit") != none {
			*change.MemLimit = Parse(&p, "mem-limit", api.ParseBytes)
		}
	}
	if c.IsSet("disk") {
		change.Disk = new(Parse(&p, "disk", api.ParseBytes))
	}
	if c.IsSet("gpus") {
		change.GPUs = new(c.Int64("gpus"))
	}
	if p.Err != nil {
		return change, p.Err
	}
	change.Custom, err = custom(c)
	return change, err
}
