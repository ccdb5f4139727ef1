package api

import "strings"

// Refill is what a voter had lost when its daemon started, and was sent again: its
// data folder was an older copy, its log damaged or gone.
type Refill struct {
	Extra
	Lost    string `json:"lost"`           // a sentence
	Entries uint64 `json:"entries"`        // of the log that it was sent for it
	From    string `json:"from,omitempty"` // id of the node that led
}

const maxLost = 512

// NewRefill shortens what is too long to be told.
func NewRefill(lost string, entries uint64, from string) *Refill {
	return &Refill{Lost: strings.ToValidUTF8(lost[:min(len(lost), maxLost)], ""), Entries: entries, From: from}
}

// Validate checks what a node says that it had lost.
func (r *Refill) Validate() error {
	if r != nil && (len(r.Lost) > maxLost || len(r.From) > 64) {
		return FieldErrorf("lost", "of %d bytes, from a node of %d, is too long", len(r.Lost), len(r.From))
	}
	return nil
}

// Equal reports whether both say the same.
func (r *Refill) Equal(o *Refill) bool {
	if r == nil || o == nil {
		return r == o
	}
	return r.Lost == o.Lost && r.Entries == o.Entries && r.From == o.From
}
