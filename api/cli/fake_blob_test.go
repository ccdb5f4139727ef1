package cli

import (
	"io"
	"net/http"

	"github.com/mesita/mesita/api"
)

// blobRoutes keep uploads in memory; handle has the lock of the fake.
func (f *fake) blobRoutes(m *http.ServeMux, handle func(string, func(*http.Request) (any, error))) {
	none := api.Errorf(api.CodeNotFound, "no such program")
	handle("HEAD /v1/blobs/{digest}", func(r *http.Request) (any, error) {
		if f.blobs[r.PathValue("digest")] == nil {
			return nil, none
		}
		return nil, nil
	})
	handle("PUT /v1/blobs/{digest}", func(r *http.Request) (any, error) {
		b, err := io.ReadAll(r.Body)
		f.blobs[r.PathValue("digest")] = b
		return struct{}{}, err
	})
	m.HandleFunc("GET /v1/blobs/{digest}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(f.blobs[r.PathValue("digest")]) // gone if this fails; scripts do one thing at a time
	})
}

// lacks are the digests of what a job needs and nobody uploaded.
func (f *fake) lacks(s *api.JobSpec) (out []string) {
	for digest := range s.Uploads() {
		if f.blobs[digest] == nil {
			out = append(out, digest)
		}
	}
	return out
}
