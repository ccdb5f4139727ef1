package cli

import (
	"io"
	"net/http"

	"github.com/mesita/mesita/api"
)

// blobRoutes keep uploads in memory; handle has the lock of the fake.
func blobRoutes(m *http.ServeMux, handle func(string, func(*http.Request) (any, error))) {
	blobs := map[string][]byte{}
	none := api.Errorf(api.CodeNotFound, "no such program")
	handle("HEAD /v1/blobs/{digest}", func(r *http.Request) (any, error) {
		if blobs[r.PathValue("digest")] == nil {
			return nil, none
		}
		return nil, nil
	})
	handle("PUT /v1/blobs/{digest}", func(r *http.Request) (any, error) {
		b, err := io.ReadAll(r.Body)
		blobs[r.PathValue("digest")] = b
		return struct{}{}, err
	})
	m.HandleFunc("GET /v1/blobs/{digest}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(blobs[r.PathValue("digest")]) // gone if this fails; scripts do one thing at a time
	})
}
