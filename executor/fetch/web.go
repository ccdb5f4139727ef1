package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
)

// web asks servers for files.
type web struct {
	client http.Client
	stall  time.Duration
}

func newWeb(stall time.Duration) *web {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableCompression: true, MaxResponseHeaderBytes: 256 << 10}
	return &web{stall: stall, client: http.Client{Transport: t, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("it was sent on more than %d times", maxRedirects)
		}
		if r.URL.Scheme != "http" && r.URL.Scheme != "https" {
			return fmt.Errorf("it was sent on to a URI of the kind %.20q, and http and https are followed", r.URL.Scheme)
		}
		return nil
	}}}
}

// stalledError says that nothing came any more.
type stalledError time.Duration

func (e stalledError) Error() string {
	return fmt.Sprintf("nothing came for %s, and it was given up", time.Duration(e))
}

// open asks for a file, of at most so many bytes.
func (w *web) open(ctx context.Context, u *url.URL, most int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(w.stall, func() { cancel(stalledError(w.stall)) })
	body := &body{ctx: ctx, watch: watch, stall: w.stall, end: func() { watch.Stop(); cancel(nil) }}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		body.end()
		return nil, errors.New("it is not a URI")
	}
	r.Header.Set("User-Agent", "mesita")
	res, err := w.client.Do(r)
	if err != nil {
		err = w.because(ctx, err)
		body.end()
		return nil, err
	}
	body.ReadCloser = res.Body
	switch {
	case res.StatusCode != http.StatusOK:
		err = fmt.Errorf("the server answered %d %s", res.StatusCode, http.StatusText(res.StatusCode))
	case res.ContentLength > most:
		err = tooLarge(res.ContentLength, most)
	default:
		return body, nil
	}
	_ = body.Close() // there is a worse error
	return nil, err
}

// because is an error of the web in words, and without its URI, which may have secrets
// and is named once anyway.
func (*web) because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if of := new(url.Error); errors.As(err, &of) {
		err = of.Err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the server ended before all of it was sent")
	}
	return err
}

func tooLarge(size, most int64) error {
	return fmt.Errorf("it has %s, and at most %s more may be fetched here", api.Bytes(size), api.Bytes(max(most, 0)))
}

// body is what comes, for as long as something does.
type body struct {
	io.ReadCloser
	ctx   context.Context //nolint:containedctx // of the request that it answers
	watch *time.Timer
	stall time.Duration
	end   func()
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.watch.Reset(b.stall)
	}
	if err != nil && !errors.Is(err, io.EOF) && context.Cause(b.ctx) != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

// openFile opens a file of the node, as the user who runs this.
func openFile(path string, most int64) (io.ReadCloser, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would be waited for
	if err != nil {
		var of *os.PathError
		if errors.As(err, &of) {
			err = of.Err
		}
		return nil, fmt.Errorf("the task's user cannot read it on this node, where the task would see it: %w", err)
	}
	fi, err := f.Stat()
	switch {
	case err != nil:
	case !fi.Mode().IsRegular():
		err = errors.New("it is not a file")
	case fi.Size() > most:
		err = tooLarge(fi.Size(), most)
	default:
		return f, nil
	}
	_ = f.Close() // it was only read
	return nil, err
}
