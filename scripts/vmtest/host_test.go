package main

import (
	"encoding/json"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSilentGuest: a guest that beats may take for ever; one that stops is ended
// a minute later, and the trouble is named.
func TestSilentGuest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, guest := net.Pipe()
		limit := time.AfterFunc(bootLimit, func() { host.Close() })
		silent := make(chan time.Time, 1)
		go func() {
			enc := json.NewEncoder(guest)
			enc.Encode(event{Started: true})
			for range 3600 {
				time.Sleep(heartbeat)
				enc.Encode(event{Alive: true})
			}
			silent <- time.Now()
		}()
		started := 0
		last, failure := listen(json.NewDecoder(host), limit, func() { started++ })
		if last.Exit != nil || !strings.Contains(failure, "said nothing for 1m0s") {
			t.Errorf("last event %+v, failure %q", last, failure)
		}
		if since := time.Since(<-silent); since != silenceLimit {
			t.Errorf("ended %s after the last beat, not %s", since, silenceLimit)
		}
		if started != 1 {
			t.Errorf("started %d times", started)
		}
	})
}

// TestGuestWithoutProgram: a guest that does not get as far as the program is
// ended at the boot limit.
func TestGuestWithoutProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, _ := net.Pipe()
		begin := time.Now()
		limit := time.AfterFunc(bootLimit, func() { host.Close() })
		_, failure := listen(json.NewDecoder(host), limit, func() { t.Error("started") })
		if since := time.Since(begin); since != bootLimit || !strings.Contains(failure, "did not start the program") {
			t.Errorf("%q after %s", failure, since)
		}
	})
}

// TestLastEvent: the exit status, or what went wrong in the guest, ends the wait.
func TestLastEvent(t *testing.T) {
	for _, c := range []struct {
		message string
		code    int
		failure string
	}{
		{`{"Exit":3}`, 3, ""},
		{`{"Error":"mount: no such device"}`, -1, "in the guest: mount: no such device"},
	} {
		limit := time.NewTimer(time.Hour)
		last, failure := listen(json.NewDecoder(strings.NewReader(`{"Started":true}{"Alive":true}`+c.message)), limit, func() {})
		code := -1
		if last.Exit != nil {
			code, failure = *last.Exit, ""
		}
		if code != c.code || failure != c.failure {
			t.Errorf("%s: status %d, failure %q", c.message, code, failure)
		}
		if limit.Stop() {
			t.Errorf("%s: the limit is left running", c.message)
		}
	}
}
