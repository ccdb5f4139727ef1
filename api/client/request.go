package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
)

// request is one call of the API, which may be sent several times.
type request struct {
	method, path string
	header       http.Header
	body         func() (io.Reader, int64) // a new reader for each try; nil = none
	once         bool                      // do not send it again when it may have been acted on
	unwell       bool                      // 503 is an answer, too
	text         bool                      // errors come as plain text
}

// call sends a JSON request and decodes the answer into out. Writes carry a
// key that makes a repeated one harmless.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	r := request{method: method, path: path, header: http.Header{}}
	if in != nil {
		if err := api.CheckText(in); err != nil {
			return err
		}
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the body of %s %s: %w", method, path, err)
		}
		r.header.Set("Content-Type", "application/json")
		r.body = func() (io.Reader, int64) { return bytes.NewReader(b), int64(len(b)) }
	}
	if method != http.MethodGet {
		r.header.Set("Idempotency-Key", rand.Text())
	}
	return c.do(ctx, r, out)
}

// do sends a request and decodes its answer into out.
func (c *Client) do(ctx context.Context, r request, out any) error {
	res, err := c.try(ctx, r)
	if err != nil || res == nil {
		return err
	}
	return r.read(res, out)
}

// read decodes an answer into out.
func (r *request) read(res *http.Response, out any) error {
	defer res.Body.Close()
	if out == nil {
		_, err := io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20)) // so that the connection can be used again
		return err
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err == nil {
		err = api.DecodeLenient(b, out)
	}
	if err != nil {
		return api.Errorf(api.CodeUnavailable, "the answer to %s %s broke off: %v", r.method, r.path, err)
	}
	return nil
}

// noAnswer is a request that a node did not answer.
type noAnswer struct {
	base string
	err  error
	sent bool // it may have been acted on
}

func (e *noAnswer) Error() string { return fmt.Sprintf("%s: %v", e.base, e.err) }

// try sends a request to one node after the other, until one answers with
// success or with an error that another try would not change, or the patience
// is over. It returns neither answer nor error for the removal of something
// that an earlier try, whose answer was lost, removed.
func (c *Client) try(ctx context.Context, r request) (*http.Response, error) {
	begin, patience := time.Now(), c.cfg.Patience
	doubt := false
	for retry := backoff.New(50*time.Millisecond, time.Second); ; {
		var refused error // what a node said
		var silent []*noAnswer
		for i := range c.bases {
			at := (int(c.best.Load()) + i) % len(c.bases)
			res, err := c.once(ctx, c.bases[at], r)
			if err == nil {
				c.best.Store(int64(at))
				return res, nil
			}
			var none *noAnswer
			switch {
			case ctx.Err() != nil:
				return nil, context.Cause(ctx)
			case errors.As(err, &none):
				silent = append(silent, none)
				doubt = doubt || none.sent
			case doubt && r.method == http.MethodDelete && api.ErrorCode(err) == api.CodeNotFound:
				return nil, nil
			case !again(err) && doubt && r.method != http.MethodGet:
				return nil, api.Doubtful(err)
			case !again(err):
				return nil, err
			default:
				refused = err
				doubt = doubt || api.ErrorCode(err) == api.CodeUnknown
			}
			if doubt && r.once {
				break
			}
		}
		if refused == nil && len(c.cfg.Addrs) == 0 && !silent[0].sent {
			patience = min(patience, noDaemonPatience)
		}
		wait := retry.Next()
		if time.Since(begin)+wait > patience || doubt && r.once {
			if refused != nil && doubt && r.method != http.MethodGet {
				return nil, lastDoubt(refused)
			}
			if refused != nil {
				return nil, refused
			}
			return nil, c.unreachable(silent)
		}
		if !backoff.Pause(ctx, wait) {
			return nil, context.Cause(ctx)
		}
	}
}

// lastDoubt is what to make of the last answer of a node that cannot do a write now,
// when an earlier try may have done it: that nothing was changed holds for this try.
func lastDoubt(err error) error {
	if api.ErrorCode(err) == api.CodeUnknown {
		return err
	}
	return api.Errorf(api.CodeUnknown, "it may have been done: an earlier try had no answer, and the last one was told: %v; look at what is there now", err)
}

// noDaemonPatience is how long to wait for a node of this machine that may just
// be starting again.
const noDaemonPatience = 3 * time.Second

// again reports whether another try may get another answer.
func again(err error) bool {
	switch api.ErrorCode(err) {
	case api.CodeUnavailable, api.CodeUnknown, api.CodeBusy:
		return true
	}
	return false
}

func (c *Client) once(ctx context.Context, base string, r request) (*http.Response, error) {
	var body io.Reader
	var size int64
	if r.body != nil {
		body, size = r.body()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, base+r.path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.ContentLength = size
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	if c.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, failure(base, err)
	}
	c.clock.hear(res.Header.Get("Date"), time.Now())
	if res.StatusCode < 300 || res.StatusCode == http.StatusSwitchingProtocols || r.unwell && res.StatusCode == http.StatusServiceUnavailable {
		if c.cfg.Stale != nil && res.Header.Get(headerStale) != "" {
			c.cfg.Stale()
		}
		return res, nil
	}
	defer res.Body.Close()
	return nil, readError(res, r.text)
}

// failure tells a node that is not there from one that must not be trusted.
func failure(base string, err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return &api.Error{Code: api.CodeNotAllowed, Field: "ca", Message: fmt.Sprintf(
			"the certificate of %s is not of the cluster whose CA was given (%v): check the address, set MESITA_CA to the cluster's ca.crt, or run `mesita login`", base, cert.Err)}
	}
	var op *net.OpError
	return &noAnswer{base: base, err: err, sent: !errors.As(err, &op) || op.Op != "dial"}
}

// unreachable says what was tried and what to look at.
func (c *Client) unreachable(silent []*noAnswer) error {
	if len(c.cfg.Addrs) == 0 {
		return api.Errorf(api.CodeUnavailable, "no node answers at %s (%v): start one with `mesita node start`, or name another with --addr or --socket", c.cfg.Socket, silent[0].err)
	}
	var tried []string
	for _, s := range silent {
		tried = append(tried, fmt.Sprintf("%s (%v)", s.base, s.err))
	}
	return api.Errorf(api.CodeUnavailable, "no node answers at %s: is mesita running there, and is the address right? See --addr and MESITA_ADDR", strings.Join(tried, ", "))
}

// statusCodes is what a status means that comes without an error of ours, such
// as from a proxy or on a HEAD.
var statusCodes = map[int]api.Code{
	http.StatusBadRequest:          api.CodeInvalid,
	http.StatusUnauthorized:        api.CodeNotAllowed,
	http.StatusForbidden:           api.CodeNotAllowed,
	http.StatusNotFound:            api.CodeNotFound,
	http.StatusTooManyRequests:     api.CodeBusy,
	http.StatusBadGateway:          api.CodeUnavailable,
	http.StatusServiceUnavailable:  api.CodeUnavailable,
	http.StatusGatewayTimeout:      api.CodeUnavailable,
	http.StatusInternalServerError: api.CodeInternal,
}

// readError is what an answer says went wrong; with text it may say so in plain text.
func readError(res *http.Response, text bool) error {
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return api.Errorf(api.CodeUnavailable, "the answer broke off: %v", err)
	}
	var e struct {
		Error  *api.Error `json:"error"`
		Reason string     `json:"reason"` // of /v1/health
	}
	if json.Unmarshal(b, &e) == nil && e.Error != nil && e.Error.Code != "" {
		if e.Error.Code == api.CodeNotFound && strings.HasPrefix(e.Error.Message, "nothing is at ") { // what this program asks for is there in its own version
			e.Error.Message = "the node does not know " + res.Request.URL.Path + ": it may run an older mesita than this command; see `mesita node ls`"
		}
		return e.Error
	}
	if e.Reason != "" {
		return api.Errorf(api.CodeUnavailable, "%s", e.Reason)
	}
	code, known := statusCodes[res.StatusCode]
	if !known {
		code = api.CodeFailed
	}
	if said := strings.TrimSpace(string(b)); text && said != "" && strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
		return api.Errorf(code, "%s", said)
	}
	return api.Errorf(code, "the server answered %s: is it a mesita node?", res.Status)
}
