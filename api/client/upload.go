package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/mesita/mesita/api"
)

// UploadProgram stores a local file in the cluster, unless it is there
// already, and returns its digest. It fails with CodeTooLarge above
// api.MaxBlob bytes.
func (c *Client) UploadProgram(ctx context.Context, path string) (digest string, uploaded bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", false, err
	}
	if info.Size() > api.MaxBlob {
		return "", false, &api.Error{Code: api.CodeTooLarge, Field: "command",
			Message: fmt.Sprintf("%s has %s, at most %s can be uploaded: make it smaller, or install it on the nodes and use --no-upload", path, api.Bytes(info.Size()), api.Bytes(api.MaxBlob))}
	}
	digest, size, err := digestOf(f)
	if err != nil {
		return "", false, err
	}
	res, err := c.try(ctx, request{method: http.MethodHead, path: "/v1/blobs/" + digest})
	if err == nil {
		return digest, false, res.Body.Close()
	}
	if api.ErrorCode(err) != api.CodeNotFound {
		return "", false, err
	}
	r := request{method: http.MethodPut, path: "/v1/blobs/" + digest + "?name=" + url.QueryEscape(filepath.Base(path)),
		header: http.Header{"Content-Type": {"application/octet-stream"}},
		body:   func() (io.Reader, int64) { return io.NewSectionReader(f, 0, size), size }} // an earlier try may still read
	if res, err = c.try(ctx, r); err != nil {
		return "", false, err
	}
	return digest, true, res.Body.Close()
}

// Download writes what was uploaded under a digest, and fails if that is damaged.
func (c *Client) Download(ctx context.Context, digest string, w io.Writer) error {
	res, err := c.try(ctx, request{method: http.MethodGet, path: "/v1/blobs/" + digest})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, h), res.Body); err != nil {
		return fmt.Errorf("read %s: %w", digest, err)
	}
	if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != digest {
		return api.Errorf(api.CodeInternal, "what came as %s is %s: it was cut off or damaged on its way; try again", digest, got)
	}
	return nil
}

// ProgramDigest is what UploadProgram knows a local file by.
func ProgramDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	digest, _, err := digestOf(f)
	return digest, err
}

func digestOf(f *os.File) (digest string, size int64, err error) {
	h := sha256.New()
	if size, err = io.Copy(h, f); err != nil {
		return "", 0, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), size, nil
}
