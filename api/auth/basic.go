package auth

import (
	"context"
	"net/http"

	"github.com/mesita/mesita/api"
)

type basicKey struct{}

// WithBasic lets a request show a client token as HTTP's basic credentials, too: the
// token's name and its text. A browser sends those by itself once it was asked for them,
// to whichever page wants it to, so only routes for programs take them.
func WithBasic(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), basicKey{}, true))
}

func takesBasic(r *http.Request) bool { return r.Context().Value(basicKey{}) != nil }

// Principal is the name by which a framework proves who it is, "" for who shows no token.
func (i Identity) Principal() string {
	if i.Token == "" {
		return ""
	}
	return i.Actor[len("token:"):]
}

const nobody = "anonymous"

// Anonymous reports whether nothing was shown, where nothing needs to be.
func (i Identity) Anonymous() bool { return i.Actor == nobody }

// anonymous is who shows nothing where nothing needs to be shown.
func anonymous() Identity {
	return Identity{Actor: nobody, Rights: api.RightRoles[deployer]}
}
