package api

import "unicode/utf8"

// Flood is somebody who asks a node for much more than it may have, and is refused.
type Flood struct {
	Extra
	Who string `json:"who"` // an address, a user of the machine, a token, or many of them
	Of  string `json:"of"`  // what it takes too much of, in the plural
}

const maxFloodText = 120

// Validate checks what a node says of who floods it.
func (f *Flood) Validate() error {
	switch {
	case f == nil:
		return nil
	case f.Who == "" || len(f.Who) > maxFloodText || !utf8.ValidString(f.Who):
		return FieldErrorf("who", "%q is not 1 to %d bytes of text", f.Who, maxFloodText)
	case f.Of == "" || len(f.Of) > maxFloodText || !utf8.ValidString(f.Of):
		return FieldErrorf("of", "%q is not 1 to %d bytes of text", f.Of, maxFloodText)
	}
	return nil
}

// Equal reports whether both are the same, or nobody.
func (f *Flood) Equal(o *Flood) bool {
	return f == o || f != nil && o != nil && f.Who == o.Who && f.Of == o.Of
}

// Text says it in words.
func (f *Flood) Text() string {
	return f.Who + " floods it: it wants more " + f.Of + " than one may have, and is refused"
}
