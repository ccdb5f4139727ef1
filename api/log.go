package api

import (
	"fmt"
	"time"
)

// LogLine is one piece of a task's log as it travels: one or more lines or a
// part of one, that something is missing, or why the log is cut off.
type LogLine struct {
	Time    time.Time `json:"time"`
	Stream  string    `json:"stream"`        // "stdout" or "stderr"
	Text    string    `json:"text"`          // to be read: what is not UTF-8 is replaced, and a character that is cut comes whole, later
	Data    []byte    `json:"data,omitzero"` // the bytes that were written, where they are not the text
	Task    string    `json:"task"`
	Attempt int       `json:"attempt"`
	// Pos is how many bytes of standard output and of standard error the attempt
	// had written with this; left out where it is not known.
	Pos     [2]int64    `json:"pos,omitzero"`
	Missing *LogMissing `json:"missing,omitempty"` // nothing was written here, and something is missing
	Error   *Error      `json:"error,omitempty"`   // the log ends here, too early
}

// LogMissing tells of bytes that a task wrote and that its log has no more.
type LogMissing struct {
	Stream string `json:"stream"`
	Bytes  int64  `json:"bytes"` // below 0: it is not known how many
	Why    string `json:"why"`
}

func (m *LogMissing) String() string {
	if m.Bytes < 0 {
		return "an unknown number of bytes is missing here: " + m.Why
	}
	return fmt.Sprintf("%d bytes of %s are missing here: %s", m.Bytes, m.Stream, m.Why)
}
