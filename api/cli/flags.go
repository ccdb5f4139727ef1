package cli

import (
	"time"

	"github.com/mesita/mesita/api"
	"github.com/urfave/cli/v2"
)

// spanValue is the value of a flag that takes a span of time as the API reads
// it: 10s, 1h30m or 7d.
type spanValue time.Duration

// Set reads a span that is not negative.
func (v *spanValue) Set(text string) error {
	d, err := api.ParseDuration(text)
	if err == nil && d < 0 {
		err = api.Errorf(api.CodeInvalid, "it is negative")
	}
	*v = spanValue(d)
	return err
}

func (v *spanValue) String() string {
	if v == nil || *v == 0 {
		return ""
	}
	return time.Duration(*v).String()
}

func spanFlag(name string, value time.Duration, use string) cli.Flag {
	return &cli.GenericFlag{Name: name, Value: (*spanValue)(&value), Usage: use}
}

func span(c *cli.Context, name string) time.Duration {
	v, _ := c.Generic(name).(*spanValue)
	if v == nil {
		return 0
	}
	return time.Duration(*v)
}
