// Package option is the flags that several commands have, and how their values
// become what the API takes: spans of time, job specs, partitions.
//
// It reads flags and files and names the flag in its errors; it talks to no
// cluster. It is called by api/cli alone.
package option

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
	d, err := api.ParseSpan(text)
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

// SpanFlag is a flag that takes a span of time.
func SpanFlag(name string, value time.Duration, use string) cli.Flag {
	return &cli.GenericFlag{Name: name, Value: (*spanValue)(&value), Usage: use}
}

// Span is the value of a SpanFlag.
func Span(c *cli.Context, name string) time.Duration {
	v, _ := c.Generic(name).(*spanValue)
	if v == nil {
		return 0
	}
	return time.Duration(*v)
}

// InFlag gives an error about a field of a spec the name of its flag.
func InFlag(name string, err error) error {
	var e *api.Error
	if !errors.As(err, &e) {
		return api.FieldErrorf(name, "%v", err)
	}
	out := *e
	if out.Field = name; name == "" {
		out.Field = FlagOf(e.Field)
		switch i := strings.LastIndexByte(e.Field, '.'); e.Field[:max(i, 0)] {
		case "guarantee", "limit", "adjust.min", "adjust.max":
			out.Message = ofAmount(e.Field[i+1:], e.Message)
		}
	}
	return &out
}

// Named gives an error of the cluster about a field the name of its flag.
func Named(err error) error {
	var e *api.Error
	if !errors.As(err, &e) || e.Field == "" {
		return err
	}
	return InFlag("", err)
}

// DryRunFlag is that of every command that changes something.
func DryRunFlag() cli.Flag {
	return &cli.BoolFlag{Name: "dry-run", Usage: "say what would be done, and do nothing"}
}

// ofAmount is a message about one of several amounts, which has no flag of its
// own.
func ofAmount(key, message string) string {
	if strings.HasPrefix(message, `"`) {
		return key + ": " + message
	}
	return key + " " + message
}

// FlagOf is the flag of a field: restart.maxDelay is --restart-max-delay.
func FlagOf(field string) string {
	whole, _, _ := strings.Cut(field, ".")
	switch whole {
	case "ports", "constraints", "labels", "users", "roles", "ulimits", "files":
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

// Parser reads flags whose values have a type of ours; the first error
// stays.
type Parser struct {
	C   *cli.Context
	Err error
}

// Parse is zero for a flag that was not given. One that was given as zero
// is refused here: further on it would be taken for not given.
func Parse[T ~int64](p *Parser, name string, parse func(string) (T, error)) T {
	text := p.C.String(name)
	if text == "" || p.Err != nil {
		return 0
	}
	v, err := parse(text)
	if err == nil && v <= 0 {
		err = api.Errorf(api.CodeInvalid, "%q is not above zero", text)
	}
	if err != nil {
		p.Err = api.InField(name, err)
	}
	return v
}
