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

// open asks for a file, of at most so many bytes, and what its server says of which it is.
func (w *web) open(ctx context.Context, u *url.URL, most int64) (io.ReadCloser, Origin, error) {
	var none Origin
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(w.stall, func() { cancel(stalledError(w.stall)) })
	body := &body{ctx: ctx, watch: watch, stall: w.stall, end: func() { watch.Stop(); cancel(nil) }}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		body.end()
		return nil, none, errors.New("it is not a URI")
	}
	r.Header.Set("User-Agent", "mesita")
	res, err := w.client.Do(r)
	if err != nil {
		err = w.because(ctx, err)
		body.end()
		return nil, none, err
	}
	body.ReadCloser = res.Body
	switch {
	case res.StatusCode != http.StatusOK:
		err = fmt.Errorf("the server answered %d %s", res.StatusCode, http.StatusText(res.StatusCode))
	case res.ContentLength > most:
		err = tooLarge(res.ContentLength, most)
	default:
		return body, originOf(res), nil
	}
	_ = body.Close() // there is a worse error
	return nil, none, err
}

// maxWord is the longest word of what a server says of a file that is kept in mind.
const maxWord = 100

func originOf(res *http.Response) Origin {
	o := Origin{Size: res.ContentLength, ETag: res.Header.Get("ETag"), Modified: res.Header.Get("Last-Modified")}
	if len(o.ETag) > maxWord {
		o.ETag = ""
	}
	if len(o.Modified) > maxWord {
		o.Modified = ""
	}
	return o
}

// unchanged reports whether a server does not say that it has another file by now than
// the one that came from there. One that does not answer, or not that, says nothing: a
// task that has its file here starts without its server.
func (w *web) unchanged(ctx context.Context, u *url.URL, is Origin) bool {
	ctx, cancel := context.WithTimeout(ctx, min(w.stall, askPatience))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, u.String(), http.NoBody)
	if err != nil {
		return true
	}
	r.Header.Set("User-Agent", "mesita")
	res, err := w.client.Do(r)
	if err != nil {
		return true
	}
	_ = res.Body.Close() // it is empty
	now := originOf(res)
	return res.StatusCode != http.StatusOK || same(is.ETag, now.ETag) && same(is.Modified, now.Modified) && (now.Size < 0 || now.Size == is.Size)
}

const askPatience = 5 * time.Second

func same(a, b string) bool { return a == b || a == "" || b == "" }

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
