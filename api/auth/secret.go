package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"time"

	"github.com/mesita/mesita/api"
)

const (
	idBytes     = 5  // 8 letters: told apart at a glance, not secret
	secretBytes = 20 // 160 random bits: not to be guessed
)

// The default lifetimes of tokens.
const (
	JoinTTL   = 24 * time.Hour
	ClientTTL = time.Duration(api.MaxTokenTTL)
)

var letters = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: the runtime ends the program instead
	return letters.EncodeToString(b)
}

// NewToken makes a token as the validated request asks, and its secret, which
// nothing but the answer to that request may hold.
func NewToken(r *api.TokenRequest, now time.Time) (t *api.Token, secret string) {
	secret = random(secretBytes)
	ttl := time.Duration(r.TTL)
	if ttl == 0 {
		ttl = JoinTTL
		if r.Kind == api.TokenClient {
			ttl = ClientTTL
		}
	}
	t = &api.Token{ID: random(idBytes), Kind: r.Kind, Name: r.Name, Hash: Hash(secret), Created: now, Expires: now.Add(ttl)}
	if r.Kind == api.TokenClient {
		t.Role, t.Rights, t.RunAs = r.Role, r.Rights, r.RunAs
	} else {
		t.VoterOnly, t.WorkerOnly, t.MaxUses = r.VoterOnly, r.WorkerOnly, r.MaxUses
	}
	return t, secret
}

// Hash is what the cluster keeps of a secret: its SHA-256 in hex.
func Hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Matches tells, in a time that does not depend on the secret, whether it is
// the one whose hash the token has.
func Matches(t *api.Token, secret string) bool {
	var have [sha256.Size]byte
	if n, err := hex.Decode(have[:], []byte(t.Hash)); err != nil || n != len(have) {
		return false
	}
	sum := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(have[:], sum[:]) == 1
}
