package api

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"
)

// Reservation is room of one node that is a partition's, used or not: it counts to the
// partition from when it is made, and nobody else is given any of it.
type Reservation struct {
	Extra
	Revision  uint64            `json:"revision,omitempty"` // index of the log entry that changed it last
	ID        string            `json:"id"`                 // of its node
	NodeID    string            `json:"nodeID"`
	Partition string            `json:"partition"`
	Principal string            `json:"principal,omitempty"` // who made it, as whom it gave itself out
	Labels    map[string]string `json:"labels,omitempty"`    // what sets it apart from others of the partition
	Resources Resources         `json:"resources"`
	Created   time.Time         `json:"created,omitzero"`
	Volume    *Volume           `json:"volume,omitempty"` // it is disk with files that last; nil: any room
}

// Reserved is part of a Reservation: what of it is on offer, or what a task has of it.
type Reserved struct {
	Extra
	Reservation string    `json:"reservation"` // its id
	Resources   Resources `json:"resources"`
}

// ReservationStatus is a reservation as a reader sees it.
type ReservationStatus struct {
	*Reservation
	Node    string    `json:"node"`             // its name
	Used    Resources `json:"used,omitzero"`    // by tasks
	Offered Resources `json:"offered,omitzero"` // to frameworks
}

// The bounds of reservations.
const (
	MaxConversions           = 100 // of one call of a framework
	MaxNodeReservations      = 64
	MaxPartitionReservations = 5000
	MaxReservations          = 20_000 // of the cluster
	MaxReservationLabels     = 64
	MaxReservationWords      = 4 << 10 // bytes of the principal and all labels
	maxReservationWord       = 255     // of one of those words
)

// ReservationID is that of what a partition has reserved on a node in somebody's name and
// with those labels: what is reserved in the same way is one reservation.
func ReservationID(partition, principal string, labels map[string]string) string {
	words := []string{partition, principal}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		words = append(words, k, labels[k])
	}
	h := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return hex.EncodeToString(h[:8])
}

// ReservedSum is what parts of reservations come to.
func ReservedSum(parts []Reserved) (sum Resources) {
	for i := range parts {
		sum = sum.Add(parts[i].Resources)
	}
	return sum
}

// Whole is all that an offer has.
func (o *Offer) Whole() Resources { return o.Resources.Add(ReservedSum(o.Reserved)) }

// ValidateReserver checks what a reservation says of who made it.
func ValidateReserver(principal string, labels map[string]string) error {
	if len(labels) > MaxReservationLabels {
		return FieldErrorf("labels", "has %d labels, at most %d are allowed", len(labels), MaxReservationLabels)
	}
	if n := ReserverBytes(principal, labels); n > MaxReservationWords {
		return FieldErrorf("labels", "has %d bytes, at most %d are allowed", n, MaxReservationWords)
	}
	if err := plainWord("principal", principal); err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if k == "" {
			return FieldErrorf("labels", "has a label without a name")
		}
		for _, w := range []string{k, labels[k]} {
			if err := plainWord("labels", w); err != nil {
				return err
			}
		}
	}
	return nil
}

// ReserverBytes is how long the words are that say who made a reservation.
func ReserverBytes(principal string, labels map[string]string) int {
	n := len(principal)
	for k, v := range labels {
		n += len(k) + len(v)
	}
	return n
}

// plainWord refuses what ReservationID could not tell from two words.
func plainWord(field, s string) error {
	switch {
	case len(s) > maxReservationWord:
		return FieldErrorf(field, "has a word of %d bytes, at most %d are allowed", len(s), maxReservationWord)
	case strings.ContainsRune(s, 0):
		return FieldErrorf(field, "has a zero byte")
	}
	return nil
}
