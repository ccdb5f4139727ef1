package agent

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/call"
)

// claims are what a token says of its executor.
type claims struct {
	Framework string `json:"fid"`
	Executor  string `json:"eid"`
	Container string `json:"cid"`
}

func (d *Desk) claimsOf(t *api.Task) claims {
	return claims{t.Framework.Framework, t.Framework.Executor, container(t)}
}

// tokenHeader is that of each token, in the form of RFC 7519: HS256 alone.
var tokenHeader = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))

// token is the one by which an executor proves that it is that.
func (d *Desk) token(t *api.Task) string {
	b, err := json.Marshal(d.claimsOf(t))
	if err != nil {
		return "" // strings have no such fault
	}
	said := tokenHeader + "." + base64.RawURLEncoding.EncodeToString(b)
	return said + "." + d.sign(said)
}

func (d *Desk) sign(said string) string {
	m := hmac.New(sha256.New, d.cfg.Key)
	m.Write([]byte(said))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// Holder is the executor that shows its token in a request, nil if none does that is to run
// here.
func (d *Desk) Holder(r *http.Request) *api.Task {
	if !strings.HasPrefix(call.Last(r.Header, "Authorization"), "Bearer "+tokenHeader+".") {
		return nil
	}
	c, err := d.prove(r)
	if err != nil || c == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.find(c.Framework, c.Executor)
	if h == nil || *c != d.claimsOf(h.row) {
		return nil
	}
	return h.row
}

// prove reads the token of a call, nil if it has none and needs none.
func (d *Desk) prove(r *http.Request) (*claims, error) {
	token, bearer := strings.CutPrefix(call.Last(r.Header, "Authorization"), "Bearer ")
	if !bearer {
		if d.cfg.MustProve {
			return nil, &call.Problem{Status: http.StatusUnauthorized, Body: "A call shows the token of its executor, which is in MESOS_EXECUTOR_AUTHENTICATION_TOKEN"}
		}
		return nil, nil
	}
	said, signature, _ := cutLast(strings.TrimSpace(token), '.')
	header, body, _ := strings.Cut(said, ".")
	var c claims
	b, err := base64.RawURLEncoding.DecodeString(body)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil || header != tokenHeader || !hmac.Equal([]byte(signature), []byte(d.sign(said))) {
		return nil, &call.Problem{Status: http.StatusUnauthorized, Body: "The token is not one that this node gave to an executor"}
	}
	return &c, nil
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
