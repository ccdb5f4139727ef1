package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
)

// Finding is what one look found.
type Finding struct {
	OK   bool
	Code *int   // the exit code or the status; nil: there was none
	Open *bool  // of a port
	Text string // what is wrong, in a phrase
}

// Run runs the command of a check beside its task, until it ends or ctx does.
type Run func(ctx context.Context, c *api.Probe) (code int, err error)

// Look looks once.
func Look(ctx context.Context, c *api.Probe, run Run) Finding {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(c.Timeout), fmt.Errorf("nothing came within %s", c.Timeout))
	defer cancel()
	switch c.Kind {
	case api.ProbeCommand:
		code, err := run(ctx, c)
		if err != nil {
			return wrong(ctx, "its command was not run to its end", err)
		}
		f := Finding{OK: code == 0, Code: &code}
		if code != 0 {
			f.Text = fmt.Sprintf("its command exited with code %d", code)
		}
		return f
	case api.ProbeHTTP:
		return request(ctx, c)
	default:
		return connect(ctx, c)
	}
}

func wrong(ctx context.Context, what string, err error) Finding {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return Finding{Text: what + ": " + err.Error()}
}

func host(c *api.Probe) string {
	address := "127.0.0.1"
	if c.IPv6 {
		address = "::1"
	}
	return net.JoinHostPort(address, strconv.Itoa(c.Port))
}

func connect(ctx context.Context, c *api.Probe) Finding {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", host(c))
	open := err == nil
	if err != nil {
		f := wrong(ctx, "its port "+strconv.Itoa(c.Port)+" takes no connection", err)
		f.Open = &open
		return f
	}
	_ = conn.Close() // it was opened, which is all
	return Finding{OK: true, Open: &open}
}

// request asks once: where the answer sends on is not followed, and whose certificate it
// is does not matter on this machine.
func request(ctx context.Context, c *api.Probe) Finding {
	u, err := url.Parse(c.Scheme + "://" + host(c) + c.Path)
	if err != nil {
		return Finding{Text: "its path is not one of a URL"}
	}
	t := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	client := http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return Finding{Text: "its path is not one of a URL"}
	}
	r.Header.Set("User-Agent", "mesita-check")
	res, err := client.Do(r)
	if err != nil {
		if of := new(url.Error); errors.As(err, &of) {
			err = of.Err
		}
		return wrong(ctx, u.String()+" does not answer", err)
	}
	_ = res.Body.Close() // what it says does not matter
	f := Finding{Code: &res.StatusCode, OK: res.StatusCode >= 200 && res.StatusCode < 400}
	if len(c.Statuses) > 0 {
		f.OK = slices.Contains(c.Statuses, res.StatusCode)
	}
	if !f.OK {
		f.Text = fmt.Sprintf("%s answers %d", u, res.StatusCode)
	}
	return f
}
