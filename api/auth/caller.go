package auth

import (
	"context"
	"net/http"
)

type callerKey struct{}

// WithCaller is a request of which who takes it knows already who sends it, as by a token
// that only that listener can check.
func WithCaller(r *http.Request, id Identity) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, id))
}
