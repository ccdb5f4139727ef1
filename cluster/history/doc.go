// Package history keeps the events of the last 30 days on the disk of a node,
// within a bound.
//
// It owns the folder with the segment files: what is in them, how long they
// stay, and what to do about one that is damaged. It does not own the events:
// they follow from the log, and the newest are in fsm.Store, which it reads. A
// history is each node's own, so two nodes may not remember equally much. It is
// called by cluster, and asked by api/server through it.
//
// A segment is a preamble and frames, each a header, a Bloom filter of the ids
// that its events are about, and the events, compressed. Frames are only
// appended, at most a second after the event; nothing is synced before a
// segment is full, so a power cut may cost what the system had not yet written.
// Most of that comes back when the node replays its log. What does not is
// replaced by an event of the kind events.missed.
package history
