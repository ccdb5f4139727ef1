package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/api"
)

// Config says how to reach a cluster: by addresses, or by the unix socket of a
// node on this machine.
type Config struct {
	Addrs  []string // https://HOST:PORT or HOST:PORT; http:// on loopback only
	Socket string   // used without Addrs
	Token  string   // a client token
	CA     []byte   // PEM of the cluster's CA; needed for https
	// Patience is how long to retry while no node answers or leads; default
	// 10 s, negative for one try.
	Patience time.Duration
	// Stale, if not nil, hears of each answer that no leader confirmed: it is
	// what the node that answered knew last.
	Stale func()
	// HTTP carries the requests instead of a transport made from the above.
	HTTP http.RoundTripper
}

// DefaultPatience is how long a call is retried.
const DefaultPatience = 10 * time.Second

// headerStale is on answers that no leader confirmed.
const headerStale = "X-Mesita-Stale"

// anyNode is a name that the certificate of every node has.
const anyNode = "node.mesita"

// Client calls a cluster. Its methods may be called from any goroutine; they
// return *api.Error with the code that the cluster sent.
type Client struct {
	cfg   Config
	bases []string
	best  atomic.Int64 // the place in bases of the node that answered last
	http  *http.Client
	clock clock
}

const (
	dialTimeout   = 3 * time.Second
	answerTimeout = 30 * time.Second // from a request sent to its answer's header
	maxAnswer     = 256 << 20        // of one answer that is decoded whole
)

// deadPeer finds out within half a minute that the other end is gone, also on
// a stream that is silent.
var deadPeer = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}

// Remote reports whether nodes are asked at addresses, and not by the socket of this machine.
func (c *Client) Remote() bool { return len(c.cfg.Addrs) > 0 }

// New makes a client. It connects to nothing yet.
func New(cfg Config) (*Client, error) {
	if cfg.Patience == 0 {
		cfg.Patience = DefaultPatience
	}
	c := &Client{cfg: cfg}
	dial := &net.Dialer{Timeout: dialTimeout, KeepAliveConfig: deadPeer}
	tr := &http.Transport{DialContext: dial.DialContext, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: answerTimeout}
	if len(cfg.Addrs) == 0 {
		tr.DisableCompression = true // nothing travels far
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialLocal(ctx, dial, cfg.Socket)
		}
		c.bases = []string{"http://mesita"}
	}
	for _, a := range cfg.Addrs {
		base, err := baseURL(a)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(base, "https:") && len(cfg.CA) == 0 && cfg.HTTP == nil {
			return nil, api.FieldErrorf("ca", "is needed for %s: set MESITA_CA to the cluster's ca.crt, or run `mesita login`", a)
		}
		c.bases = append(c.bases, base)
	}
	if len(cfg.CA) > 0 {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(cfg.CA) {
			return nil, api.FieldErrorf("ca", "holds no PEM certificate")
		}
		tr.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: anyNode}
	}
	c.http = &http.Client{Transport: cfg.HTTP}
	if cfg.HTTP == nil {
		c.http.Transport = tr
	}
	return c, nil
}

// TLSAddresses are those of some addresses that are asked over TLS, as HOST:PORT.
func TLSAddresses(addrs []string) (out []string, err error) {
	for _, a := range addrs {
		base, err := baseURL(strings.TrimSpace(a))
		if err != nil {
			return nil, err
		}
		if hostPort, ok := strings.CutPrefix(base, "https://"); ok {
			out = append(out, hostPort)
		}
	}
	return out, nil
}

func baseURL(addr string) (string, error) {
	if ip := net.ParseIP(strings.Trim(addr, "[]")); ip != nil && ip.To4() == nil {
		addr = "[" + ip.String() + "]"
	}
	if !strings.Contains(addr, "://") {
		addr = "https://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", api.FieldErrorf("addr", "%q is not an address: write HOST:PORT or https://HOST:PORT", addr)
	}
	if u.Scheme == "http" {
		if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return "", api.FieldErrorf("addr", "%q would send credentials in clear: use https://", addr)
		}
	}
	if u.Port() == "" && u.Scheme == "https" {
		u.Host = net.JoinHostPort(u.Hostname(), strconv.Itoa(api.DefaultPort))
	}
	return u.Scheme + "://" + u.Host, nil
}

// list is what every list endpoint answers.
type list[T any] struct {
	Items []T    `json:"items"`
	Index uint64 `json:"index"`
	Next  string `json:"next"` // where the rest begins
	// Before is, of events, that those before it are left out, as what they carry is much.
	Before uint64 `json:"before"`
	Total  int    `json:"total"` // of all rows; on the first page
}

// pageRows is how many rows are asked for at a time once a list is long.
const pageRows = 10_000

// getList reads a whole list, page by page. Rows of two pages may be of two
// times. An older server knows no pages and sends all at once, so the first is
// asked for as it always was.
func getList[T any](ctx context.Context, c *Client, path string, q url.Values) ([]T, error) {
	l, err := getPage[T](ctx, c, path, q)
	if err != nil || l.Next == "" {
		return l.Items, err
	}
	items := l.Items
	q = maps.Clone(q)
	if q == nil {
		q = url.Values{}
	}
	for q.Set("limit", strconv.Itoa(pageRows)); l.Next != ""; items = append(items, l.Items...) {
		q.Set("cursor", l.Next)
		if l, err = getPage[T](ctx, c, path, q); err != nil {
			return nil, err
		}
	}
	return items, nil
}

// maxNamed bounds Names.
const maxNamed = 1000

// Names is one field of the first rows of a list, at most 1,000.
func (c *Client) Names(ctx context.Context, path, field string, q url.Values) ([]string, error) {
	q = maps.Clone(q)
	if q == nil {
		q = url.Values{}
	}
	q.Set("fields", field)
	q.Set("limit", strconv.Itoa(maxNamed))
	l, err := getPage[map[string]json.RawMessage](ctx, c, path, q)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(l.Items))
	for _, row := range l.Items[:min(len(l.Items), maxNamed)] { // an older server sends all, and all fields
		name := string(row[field])
		if text, err := strconv.Unquote(name); err == nil { // else it is a number
			name = text
		}
		names = append(names, name)
	}
	return names, nil
}

func getPage[T any](ctx context.Context, c *Client, path string, q url.Values) (l list[T], err error) {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return l, c.call(ctx, http.MethodGet, path, nil, &l)
}
