package v1

import (
	"errors"
	"math"
	"time"
)

// UnmarshalText reads a duration as protobuf writes it in JSON, which Mesos
// does not: 600s, 1.5s.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || len(text) == 0 || text[len(text)-1] != 's' {
		return errors.New("expecting seconds such as \"600s\"")
	}
	d.Seconds, d.Nanos = new(int64(v/time.Second)), new(int32(v%time.Second))
	return nil
}

// Value returns the duration, or the longest that Go has.
func (d *Duration) Value() time.Duration {
	seconds, nanos := Get(d.Seconds), Get(d.Nanos)
	if seconds >= math.MaxInt64/int64(time.Second) {
		return math.MaxInt64
	}
	if seconds <= math.MinInt64/int64(time.Second) {
		return math.MinInt64
	}
	return time.Duration(seconds)*time.Second + time.Duration(nanos)
}
