// Package auth says who calls and what they may do: identities, tokens and
// their secrets, the order of roles, and the bound on wrong guesses.
//
// It does not own TLS (the node gives it a function that reads a verified node
// certificate), nor which role a route needs (the route table of api/server
// does), nor where tokens are kept (the replicated state does). The HTTP
// server asks it about every request; the node uses its secrets when it makes
// and checks join tokens.
package auth
