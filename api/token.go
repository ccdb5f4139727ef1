package api

import (
	"strings"
	"time"
)

// Role is what an identity may do.
type Role uint8

// The roles, each with all rights of the one before. Append only.
const (
	RoleNone Role = iota
	RoleViewer
	RoleOperator
	RoleAdmin
	RoleNode // another node of the cluster
)

var roles = []string{"none", "viewer", "operator", "admin", "node"}

func (r Role) String() string { return enumString(roles, r) }

// MarshalText writes the role's name.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the role's name.
func (r *Role) UnmarshalText(b []byte) (err error) {
	*r, err = enumText[Role]("role", roles, b)
	return err
}

// TokenKind tells a join token from a client token.
type TokenKind uint8

// The kinds of token. Append only.
const (
	TokenJoin TokenKind = iota
	TokenClient
)

var tokenKinds = []string{"join", "client"}

func (k TokenKind) String() string { return enumString(tokenKinds, k) }

// MarshalText writes join or client.
func (k TokenKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads join or client.
func (k *TokenKind) UnmarshalText(b []byte) (err error) {
	*k, err = enumText[TokenKind]("token kind", tokenKinds, b)
	return err
}

// Token is a credential. Its secret is known to its holder only; the cluster
// keeps the hash.
type Token struct {
	Extra
	Revision uint64    `json:"revision,omitempty"` // index of the log entry that changed it last
	ID       string    `json:"id"`
	Kind     TokenKind `json:"kind"`
	Name     string    `json:"name,omitempty"`
	Role     Role      `json:"role"`             // of a client token, in the whole cluster
	Rights   []string  `json:"rights,omitempty"` // of a client token beside its role: see Right
	// RightsSince is the index of the event by which role and rights are what they are;
	// 0: since it was made.
	RightsSince uint64 `json:"rightsSince,omitempty"`
	VoterOnly   bool   `json:"voterOnly,omitempty"` // of a join token: only voter-only nodes may use it
	// Of a join token: who joins with it never votes, and so never holds the key of
	// the CA.
	WorkerOnly bool `json:"workerOnly,omitempty"`

	RunAs   string    `json:"runAs,omitempty"`   // of a client token: who the tasks of its jobs run as; "" = as the partition says
	Hash    string    `json:"hash,omitempty"`    // SHA-256 of the secret, hex; never sent to a client
	MaxUses int       `json:"maxUses,omitempty"` // of a join token; 0 = any number
	Uses    int       `json:"uses"`
	Created time.Time `json:"created,omitzero"`
	Expires time.Time `json:"expires,omitzero"` // zero = never
}

// FewVoters is how many voters the smallest cluster has that outlives one of them.
const FewVoters = 3

// ManyVoters is how many a cluster has of as many nodes that may vote, or more: with more
// each write would be slower, and no failure more survivable that matters at this size.
const ManyVoters = 5

// VotersOf is how many voters a cluster is to have, if it has them, of which so many nodes
// may vote.
func VotersOf(may int) int {
	if may >= ManyVoters {
		return ManyVoters
	}
	return FewVoters
}

// MaxTokenTTL is the most that a token is valid for.
const MaxTokenTTL = Duration(90 * 24 * time.Hour)

// TokenRequest asks for a token.
type TokenRequest struct {
	Kind      TokenKind `json:"kind"`
	Name      string    `json:"name,omitempty"`
	Role      Role      `json:"role,omitempty"`
	VoterOnly bool      `json:"voterOnly,omitempty"`
	MaxUses   int       `json:"maxUses,omitempty"`

	// Of a join token: who joins may become a voter, or never. Without either that is
	// so while fewer than FewVoters may.
	Voter      bool `json:"voter,omitempty"`
	WorkerOnly bool `json:"workerOnly,omitempty"`

	Rights []string `json:"rights,omitempty"` // of a client token, beside or instead of a role: see Right

	RunAs string `json:"runAs,omitempty"` // of a client token: who the tasks of its jobs run as; "" = as the partition says

	TTL Duration `json:"ttl,omitempty"` // default 24h for a join token, 90d for a client token
}

// TokenGrant is a new token with its secret, shown once.
type TokenGrant struct {
	*Token
	Secret string `json:"secret"` // the whole token as the user types it
}

// Validate checks a token request.
func (r *TokenRequest) Validate() error {
	if r.Name != "" {
		if err := ValidateName("name", r.Name); err != nil {
			return err
		}
	}
	if r.Kind == TokenClient && (r.Role < RoleViewer && len(r.Rights) == 0 || r.Role > RoleAdmin) {
		return FieldErrorf("role", "%q is none of viewer, operator, admin; deployer, and roles of a partition, go into rights", r.Role)
	}
	if r.Kind == TokenJoin && r.RunAs != "" {
		return FieldErrorf("runAs", "is of client tokens only")
	}
	if err := validateUser("runAs", r.RunAs); err != nil {
		return err
	}
	if r.Kind == TokenJoin && len(r.Rights) > 0 {
		return FieldErrorf("rights", "are of client tokens only")
	}
	if err := ValidateRights("rights", r.Rights); err != nil {
		return err
	}
	switch {
	case r.WorkerOnly && r.Kind != TokenJoin:
		return FieldErrorf("workerOnly", "is of join tokens only")
	case r.Voter && r.Kind != TokenJoin:
		return FieldErrorf("voter", "is of join tokens only")
	case r.WorkerOnly && r.Voter:
		return FieldErrorf("workerOnly", "does not go with voter: choose one")
	case r.WorkerOnly && r.VoterOnly:
		return FieldErrorf("workerOnly", "does not go with voterOnly: such nodes would do nothing")
	}
	if r.MaxUses < 0 || r.MaxUses > 1_000_000 {
		return FieldErrorf("maxUses", "%d is not within 0 to 1000000", r.MaxUses)
	}
	if r.TTL < 0 || r.TTL > MaxTokenTTL {
		return FieldErrorf("ttl", "%s is not within 0 and 90 days (2160h): make the next token before this one ends", r.TTL)
	}
	return nil
}

// JoinToken is the parts of "mst1-CLUSTER-ID.SECRET.PIN".
type JoinToken struct {
	Cluster string // the cluster's name
	ID      string
	Secret  string
	Pin     string // of the cluster's CA
}

const joinPrefix, clientPrefix = "mst1-", "msc1-"

// pinLength is that of a SHA-256 hash in base32.
const pinLength = 52

func (t JoinToken) String() string {
	return joinPrefix + t.Cluster + "-" + t.ID + "." + t.Secret + "." + t.Pin
}

// ParseJoinToken takes a join token apart.
func ParseJoinToken(s string) (JoinToken, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), joinPrefix)
	dash := strings.LastIndexByte(rest, '-')
	if !ok || dash < 1 || len(s) > 512 {
		return JoinToken{}, FieldErrorf("token", "is not a join token: it begins with %sCLUSTER-; get one with `mesita node token`", joinPrefix)
	}
	parts := strings.Split(rest[dash+1:], ".")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || len(parts[2]) != pinLength {
		return JoinToken{}, FieldErrorf("token", "is cut off or altered: copy it whole, or get a new one with `mesita node token`")
	}
	return JoinToken{Cluster: rest[:dash], ID: parts[0], Secret: parts[1], Pin: parts[2]}, nil
}

// ClientToken is the parts of "msc1-ID.SECRET.PIN", or of one without a pin: who logs in
// with it names the cluster's CA by a file.
type ClientToken struct {
	ID     string
	Secret string
	Pin    string // of the cluster's CA
}

func (t ClientToken) String() string {
	s := clientPrefix + t.ID + "." + t.Secret
	if t.Pin != "" {
		s += "." + t.Pin
	}
	return s
}

// ParseClientToken takes a client token apart.
func ParseClientToken(s string) (ClientToken, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), clientPrefix)
	if !ok || len(s) > 512 {
		return ClientToken{}, FieldErrorf("token", "is not a client token: it begins with msc1-; make one with `mesita token create` on a node")
	}
	parts := append(strings.Split(rest, "."), "")
	if n := len(parts) - 1; n < 2 || n > 3 || parts[0] == "" || parts[1] == "" || n == 3 && len(parts[2]) != pinLength {
		return ClientToken{}, FieldErrorf("token", "is cut off or altered: copy it whole, or make another with `mesita token create` on a node")
	}
	return ClientToken{parts[0], parts[1], parts[2]}, nil
}

// Has is all that a client token may, as Right writes it, with commas.
func (t *Token) Has() string {
	all := t.Rights
	if t.Role != RoleNone || len(all) == 0 {
		all = append([]string{t.Role.String()}, all...)
	}
	return strings.Join(all, ",")
}

// RightsChange grants and revokes rights of the client tokens of that name or id.
type RightsChange struct {
	Grant  []string `json:"grant,omitempty"`
	Revoke []string `json:"revoke,omitempty"`
}

// Validate checks a change.
func (c *RightsChange) Validate() error {
	if len(c.Grant)+len(c.Revoke) == 0 {
		return FieldErrorf("grant", "is missing: give a right to grant or to revoke, such as deployer@prod")
	}
	if err := ValidateRights("grant", c.Grant); err != nil {
		return err
	}
	return ValidateRights("revoke", c.Revoke)
}

// Can says whether a token may do something.
type Can struct {
	Token string `json:"token"` // its id
	Actor string `json:"actor"`
	Has   string `json:"has"`
	May   bool   `json:"may"`
	Why   string `json:"why,omitempty"`   // not
	RunAs string `json:"runAs,omitempty"` // who its tasks there run as, if it may deploy
}
