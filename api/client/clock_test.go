package client

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// What is a second off is how answers are dated; more is another clock, until the next answer.
func TestNowIsThatOfWhoAnswers(t *testing.T) {
	var off time.Duration
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
		_, _ = w.Write([]byte(`{"items":[]}`)) // the test fails if it does
	}))
	defer s.Close()
	c, err := New(Config{Addrs: []string{s.URL}})
	if err != nil {
		t.Fatal(err)
	}
	for off = range map[time.Duration]bool{0: true, 3 * time.Hour: true, -40 * time.Minute: true} {
		if _, err := c.Stats(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, exact := time.Until(c.Now()), off == 0
		if exact && got.Abs() > time.Second/2 || (got-off).Abs() > 3*time.Second {
			t.Errorf("a clock that is %s off: %s", off, got)
		}
	}
}
