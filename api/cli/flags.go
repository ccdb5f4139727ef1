package cli

import (
	"errors"
	"strings"
	"time"
	"unicode"

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

// inFlag gives an error about a field of a spec the name of its flag.
func inFlag(name string, err error) error {
	var e *api.Error
	if !errors.As(err, &e) {
		return api.FieldErrorf(name, "%v", err)
	}
	out := *e
	if out.Field = name; name == "" {
		out.Field = flagOf(e.Field)
	}
	return &out
}

// named gives an error of the cluster about a field the name of its flag.
func named(err error) error {
	var e *api.Error
	if !errors.As(err, &e) || e.Field == "" {
		return err
	}
	return inFlag("", err)
}

// flagOf is the flag of a field: restart.maxDelay is --restart-max-delay.
func flagOf(field string) string {
	whole, _, _ := strings.Cut(field, ".")
	switch whole {
	case "ports", "constraints", "users", "roles":
		return strings.TrimSuffix(whole, "s")
	case "guarantee", "limit":
		return whole
	case "adjust":
		for _, f := range []string{"adjust-min", "adjust-max", "hours"} {
			if strings.HasPrefix(field, "adjust."+strings.TrimPrefix(f, "adjust-")) {
				return f
			}
		}
	}
	var b strings.Builder
	lower := false // the rune before
	for _, r := range field {
		if lower && unicode.IsUpper(r) {
			b.WriteByte('-')
		}
		lower = unicode.IsLower(r)
		b.WriteRune(unicode.ToLower(r))
	}
	return strings.ReplaceAll(b.String(), ".", "-")
}
