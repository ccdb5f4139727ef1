package client

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// dated answers after a while, by a clock that is off.
type dated struct{ off, takes time.Duration }

func (d *dated) RoundTrip(*http.Request) (*http.Response, error) {
	time.Sleep(d.takes)
	h := http.Header{"Date": {time.Now().Add(d.off).UTC().Format(http.TimeFormat)}}
	return &http.Response{StatusCode: http.StatusOK, Header: h, Body: io.NopCloser(strings.NewReader(`{"items":[]}`))}, nil
}

// What is less than two seconds off is how answers are dated; more is another clock, until
// the next answer, however long that takes.
func TestNowIsThatOfWhoAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d dated
		c, err := New(Config{Addrs: []string{"http://localhost"}, HTTP: &d})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []struct{ off, want time.Duration }{{0, 0}, {3 * time.Hour, 3 * time.Hour}, {-time.Second, 0}, {-40 * time.Minute, -40 * time.Minute}, {time.Second, 0}} {
			d = dated{s.off, 20 * time.Second}
			if _, _, err := c.Stats(t.Context(), "", ""); err != nil {
				t.Fatal(err)
			}
			if got := time.Until(c.Now()); got != s.want {
				t.Errorf("a clock that is %s off: %s", s.off, got)
			}
		}
	})
}
