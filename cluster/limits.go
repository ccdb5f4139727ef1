package cluster

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/cluster/audit"
	"github.com/mesita/mesita/cluster/history"
	"github.com/mesita/mesita/executor"
)

// Limit is a setting of how much of the past a node keeps, or how much it serves at a time.
// What all voters have to agree on is none.
type Limit struct {
	Name    string // of its flag, and its key in the node's file
	About   string
	Default string

	unit        string
	least, most int64
	set         func(*Config, int64)
}

// What limits are counted in.
const (
	unitTime  = "DURATION"
	unitBytes = "SIZE"
	unitCount = "N"
)

const day = 24 * time.Hour

// Limits are those of a node. This is the only place that describes them.
func Limits() []Limit {
	return []Limit{
		span("log-keep", "logs of tasks that ended are kept", executor.DefaultLogKeep, time.Minute, 365*day, func(c *Config, d time.Duration) { c.LogKeep = d }),
		size("log-total", "of logs of tasks that ended", executor.DefaultLogTotal, 16<<20, func(c *Config, n int64) { c.LogTotal = n }),
		span("folder-keep", "working folders of tasks that ended are kept", executor.DefaultDirKeep, time.Minute, 30*day, func(c *Config, d time.Duration) { c.FolderKeep = d }),
		size("program-cache", "of programs and files that were uploaded", executor.DefaultBlobCache, api.MaxBlob, func(c *Config, n int64) { c.ProgramCache = n }),
		span("event-keep", "events are kept", history.DefaultAge, time.Hour, 3650*day, func(c *Config, d time.Duration) { c.EventAge = d }),
		size("event-total", "of events", history.DefaultBytes, 16<<20, func(c *Config, n int64) { c.EventBytes = n }),
		span("audit-keep", "the audit is kept", audit.DefaultAge, time.Hour, 3650*day, func(c *Config, d time.Duration) { c.AuditAge = d }),
		size("audit-total", "of the audit", audit.DefaultBytes, 16<<20, func(c *Config, n int64) { c.AuditBytes = n }),
		{"max-streams", "streams at a time: logs, events, commands", strconv.Itoa(server.DefaultStreams), unitCount, 16, 16384, func(c *Config, n int64) { c.MaxStreams = int(n) }},
	}
}

func span(name, about string, is, least, most time.Duration, set func(*Config, time.Duration)) Limit {
	return Limit{name, about, spanText(is), unitTime, int64(least), int64(most), func(c *Config, n int64) { set(c, time.Duration(n)) }}
}

func size(name, about string, is, least int64, set func(*Config, int64)) Limit {
	return Limit{name, about, api.Bytes(is).Exact(), unitBytes, least, 1 << 40, set}
}

// spanText is a time without parts that are 0.
func spanText(d time.Duration) string {
	return strings.NewReplacer("m0s", "m", "h0m0s", "h").Replace(d.String())
}

// Usage is what help says of it.
func (l Limit) Usage() string {
	switch l.unit {
	case unitTime:
		return fmt.Sprintf("`%s` for which %s, %s to %s", l.unit, l.About, l.text(l.least), l.text(l.most))
	case unitBytes:
		return fmt.Sprintf("`%s` %s at most, %s to %s", l.unit, l.About, l.text(l.least), l.text(l.most))
	}
	return fmt.Sprintf("`%s` %s, %s to %s", l.unit, l.About, l.text(l.least), l.text(l.most))
}

func (l Limit) text(n int64) string {
	switch l.unit {
	case unitTime:
		return spanText(time.Duration(n))
	case unitBytes:
		return api.Bytes(n).Exact()
	}
	return strconv.FormatInt(n, 10)
}

// read is the value that a text says.
func (l Limit) read(text string) (n int64, err error) {
	switch l.unit {
	case unitTime:
		var d api.Duration
		if d, err = api.ParseDuration(text); err == nil && strings.Trim(text, "0123456789.") == "" {
			return 0, api.FieldErrorf(l.Name, "%q needs a unit: write %ss, %[2]sm or %[2]sh", text, text)
		}
		n = int64(d)
	case unitBytes:
		var b api.Bytes
		b, err = api.ParseBytes(text)
		n = int64(b)
	default:
		if n, err = strconv.ParseInt(text, 10, 64); err != nil {
			return 0, api.FieldErrorf(l.Name, "%q is not a whole number", text)
		}
	}
	if err != nil {
		return 0, api.InField(l.Name, err)
	}
	if n < l.least || n > l.most {
		return 0, api.FieldErrorf(l.Name, "%q is not within %s to %s", text, l.text(l.least), l.text(l.most))
	}
	return n, nil
}

// limit has limits take effect that were set.
func (c *Config) limit() error {
	for _, l := range Limits() {
		text, set := c.Limits[l.Name]
		if !set {
			continue
		}
		n, err := l.read(text)
		if err != nil {
			return err
		}
		l.set(c, n)
	}
	return nil
}
