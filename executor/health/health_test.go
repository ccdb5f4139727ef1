package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// Each word is one finding, a second after the one before: + is a success, - a failure;
// h and u are that it is told to be healthy or not, ! that it is to end.
func TestFindings(t *testing.T) {
	for _, c := range []struct {
		name, found, want string
		p                 Policy
		was               *bool
	}{
		{name: "healthy is told once", found: "+++", want: "h,,", p: Policy{Failures: 3}},
		{name: "failures in a row end it", found: "---", want: "u,,!", p: Policy{Failures: 3}},
		{name: "a success begins anew", found: "--+--", want: "u,,h,u,", p: Policy{Failures: 3}},
		{name: "one failure is enough", found: "-", want: "u!", p: Policy{Failures: 1}},
		{name: "in the grace time none counts", found: "-----", want: ",,,u,!", p: Policy{Failures: 2, Grace: 3 * time.Second}},
		{name: "after a success there is no grace", found: "+--", want: "h,u,!", p: Policy{Failures: 2, Grace: time.Hour}},
		{name: "some successes in a row", found: "+-++", want: ",u,,h", p: Policy{Failures: 2, Passes: 2}},
		{name: "resumed healthy", found: "+-", want: ",u", p: Policy{Failures: 2, Grace: time.Hour}, was: new(true)},
		{name: "resumed unhealthy", found: "-+", want: ",h", p: Policy{Failures: 2}, was: new(false)},
	} {
		s := State{Policy: c.p}
		if c.was != nil {
			s.Resume(*c.was)
		}
		var got []string
		for i, r := range c.found {
			v, word := s.Found(time.Duration(i+1)*time.Second, r == '+'), ""
			if v.Changed {
				word = map[bool]string{true: "h", false: "u"}[v.Healthy]
			}
			if v.End {
				word += "!"
			}
			got = append(got, word)
		}
		if strings.Join(got, ",") != c.want {
			t.Errorf("%s: %s is %s, not %s", c.name, c.found, strings.Join(got, ","), c.want)
		}
	}
}

// What changes all the time is told so often within the span, and no oftener.
func TestPace(t *testing.T) {
	p := Pace{Burst: 3, Span: time.Minute}
	var at []time.Duration
	for now := time.Duration(0); now < 10*time.Minute; now = max(now+time.Second, at[len(at)-1]) {
		at = append(at, p.Next(now))
	}
	for i := 3; i < len(at); i++ {
		if at[i]-at[i-3] < time.Minute {
			t.Fatalf("four within %s: %v", at[i]-at[i-3], at[i-3:i+1])
		}
	}
	if at[2] > 3*time.Second || len(at) < 25 {
		t.Errorf("it waits for nothing: %v", at)
	}
}

// A look says what it found, and what is wrong with it.
func TestLook(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch code, _ := strconv.Atoi(r.URL.Path[1:]); code {
		case 0:
			<-r.Context().Done()
		case 302:
			http.Redirect(w, r, "http://192.0.2.1/", code)
		default:
			w.WriteHeader(code)
		}
	}))
	defer web.Close()
	_, port, _ := net.SplitHostPort(web.Listener.Addr().String())
	open, _ := strconv.Atoi(port)
	at := func(path string, statuses ...int) api.Probe {
		return api.Probe{Kind: api.ProbeHTTP, Scheme: "http", Port: open, Path: path, Statuses: statuses}
	}
	run := func(ctx context.Context, c *api.Probe) (int, error) {
		switch c.Command[0] {
		case "hang":
			<-ctx.Done()
			return 0, ctx.Err()
		case "none":
			return 0, errors.New("there is no such program")
		}
		return strconv.Atoi(c.Command[0])
	}
	command := func(s string) api.Probe { return api.Probe{Kind: api.ProbeCommand, Command: []string{s}} }
	for _, c := range []struct {
		probe api.Probe
		want  string
	}{
		{at("/200"), "true 200 "}, {at("/302"), "true 302 "}, {at("/503"), "false 503 http://127.0.0.1:" + port + "/503 answers 503"},
		{at("/404", 404), "true 404 "}, {at("/200", 404), "false 200 http://127.0.0.1:" + port + "/200 answers 200"},
		{at("/0"), "false - http://127.0.0.1:" + port + "/0 does not answer: nothing came within 200ms"},
		{api.Probe{Kind: api.ProbeTCP, Port: open}, "true open "}, {api.Probe{Kind: api.ProbeTCP, Port: 1}, "false closed its port 1 takes no connection: dial tcp 127.0.0.1:1: connect: connection refused"},
		{command("0"), "true 0 "}, {command("7"), "false 7 its command exited with code 7"}, {command("none"), "false - its command was not run to its end: there is no such program"},
		{command("hang"), "false - its command was not run to its end: nothing came within 200ms"},
	} {
		c.probe.Timeout = api.Duration(time.Minute)
		if strings.Contains(c.want, "nothing came") {
			c.probe.Timeout = api.Duration(200 * time.Millisecond)
		}
		f := Look(t.Context(), &c.probe, run)
		code := "-"
		switch {
		case f.Open != nil:
			code = map[bool]string{true: "open", false: "closed"}[*f.Open]
		case f.Code != nil:
			code = strconv.Itoa(*f.Code)
		}
		if got := fmt.Sprintf("%t %s %s", f.OK, code, f.Text); got != c.want {
			t.Errorf("%q, not %q", got, c.want)
		}
	}
}
