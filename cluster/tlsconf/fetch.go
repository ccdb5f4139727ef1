package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/mesita/mesita/api"
)

const (
	// maxCARoots bounds what anybody may answer: 16 keys of before need 32 KiB.
	maxCARoots = 256 << 10
	// askTimeout bounds a question for the keys of the CA.
	askTimeout = 3 * time.Second
)

// AskCA asks the node at an address, whoever it is, for the keys of its CA.
func AskCA(ctx context.Context, addr string) (*api.CARoots, error) {
	return askCA(ctx, addr, AnybodyConfig())
}

// FetchCA asks the nodes at some addresses, HOST:PORT, one after the other, for the
// certificates of their CA, PEM: those that are of the key of that pin, or of one that
// follows it. It fails with CodeNotAllowed if there is a node of another CA and none of
// that one, and with CodeUnavailable if nobody answers as one of them.
func FetchCA(ctx context.Context, addrs []string, pin string) (certs []byte, err error) {
	for _, addr := range addrs {
		certs, failed := fetchPinned(ctx, addr, pin)
		if failed == nil {
			return certs, nil
		}
		if err == nil || api.ErrorCode(failed) == api.CodeNotAllowed {
			err = failed
		}
	}
	return nil, err
}

// fetchPinned asks one of them. A pin of before the key of the CA was changed leads to
// the new one, if the old one has signed it.
func fetchPinned(ctx context.Context, addr, pin string) ([]byte, error) {
	r, err := fetchProven(ctx, addr, pin)
	if errors.Is(err, ErrPinMismatch) {
		if told, failed := AskCA(ctx, addr); failed == nil {
			if next, failed := FollowPin(told, pin); failed == nil {
				r, err = fetchProven(ctx, addr, next)
			}
		}
	}
	switch {
	case errors.Is(err, ErrPinMismatch):
		return nil, &api.Error{Code: api.CodeNotAllowed, Field: "token", Message: err.Error()}
	case err != nil:
		_, port, _ := net.SplitHostPort(addr) // "" of what is none, as the error says
		return nil, api.Errorf(api.CodeUnavailable, "cannot reach a node at %s: %v; is mesita running there, and port %s open?", addr, err, port)
	}
	// A node has no key of the CA: it may say of others what it likes.
	certs, err := FollowRoots(r, pin)
	if err != nil {
		return nil, &api.Error{Code: api.CodeNotAllowed, Field: "token", Message: fmt.Sprintf("the node at %s names other keys of the CA than the token's: %v", addr, err)}
	}
	return certs, nil
}

// fetchProven asks a node that proves to be of the CA with a pin.
func fetchProven(ctx context.Context, addr, pin string) (*api.CARoots, error) {
	conf := PinnedConfig(pin)
	conf.NextProtos = []string{"http/1.1"}
	return askCA(ctx, addr, conf)
}

func askCA(ctx context.Context, addr string, conf *tls.Config) (*api.CARoots, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	t := &http.Transport{TLSClientConfig: conf, DialContext: (&net.Dialer{Timeout: askTimeout}).DialContext, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/v1/ca", nil)
	if err != nil {
		return nil, err
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s for the keys of its CA: %w", addr, err)
	}
	defer res.Body.Close()
	res.Body = http.MaxBytesReader(nil, res.Body, maxCARoots)
	r := new(api.CARoots)
	if err := api.ReadAnswer(res, r); err != nil {
		return nil, fmt.Errorf("ask %s for the keys of its CA: %w", addr, err)
	}
	if len(r.Cert) == 0 {
		return nil, errors.New("the answer names no key")
	}
	return r, nil
}
