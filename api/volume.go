package api

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Volume is a folder of a node whose files last from one task to the next. It is made of
// the disk of a reservation, and is one itself: of its partition, of one size, and had by
// one task at a time.
type Volume struct {
	Extra
	ID        string `json:"id"` // within its partition and node
	Principal string `json:"principal,omitempty"`
	Path      string `json:"path"`           // in the folders of tasks, as who made it wants it
	Made      uint64 `json:"made,omitempty"` // index of the log entry that made it: no two have one folder
}

// VolumeMount is a volume that a task has.
type VolumeMount struct {
	Extra
	Reservation string `json:"reservation"` // its id
	Path        string `json:"path"`        // in the task's folder
	// Folder is the name of its folder on the node, which the cluster fills in.
	Folder string `json:"folder,omitempty"`
}

// The bounds of volumes.
const (
	MaxVolumeID   = 255 // bytes
	maxVolumePath = 255
)

// VolumeID is the id of the reservation that a volume is.
func VolumeID(partition, id string) string {
	h := sha256.Sum256([]byte("volume\x00" + partition + "\x00" + id))
	return hex.EncodeToString(h[:8])
}

// Folder is the name of its folder on its node.
func (r *Reservation) Folder() string { return r.ID + "-" + strconv.FormatUint(r.Volume.Made, 10) }

// Validate checks what is said of a volume that is to be made.
func (v *Volume) Validate() error {
	switch {
	case v.ID == "" || v.ID == "." || v.ID == "..":
		return FieldErrorf("volume.id", "%q is not a name of a volume", v.ID)
	case len(v.ID) > MaxVolumeID:
		return FieldErrorf("volume.id", "has %d bytes, at most %d are allowed", len(v.ID), MaxVolumeID)
	case strings.ContainsFunc(v.ID, func(r rune) bool {
		return unicode.IsControl(r) || r == '/' || r == '\\' || r == unicode.ReplacementChar
	}):
		return FieldErrorf("volume.id", "%q has a slash, a backslash or a character that is not printed", v.ID)
	}
	if err := plainWord("volume.principal", v.Principal); err != nil {
		return err
	}
	return ValidateVolumePath(v.Path)
}

// ValidateVolumePath refuses what is not in a task's own folder.
func ValidateVolumePath(p string) error {
	switch {
	case len(p) > maxVolumePath:
		return FieldErrorf("volume.path", "has %d bytes, at most %d are allowed", len(p), maxVolumePath)
	case p == "" || path.IsAbs(p) || path.Clean(p) != p || p == "." || p == ".." || strings.HasPrefix(p, "../"):
		return FieldErrorf("volume.path", "%q is not a path in the task's folder: write data, or var/data", p)
	case strings.ContainsFunc(p, unicode.IsControl):
		return FieldErrorf("volume.path", "%q has a control character", p)
	}
	return nil
}

// validateVolumes checks those of a task, of which no one is in another one.
func (t *TaskSpec) validateVolumes() error {
	if len(t.Volumes) > 0 && t.Dir != "" {
		return FieldErrorf("volumes", "are put into the task's own folder: leave dir out")
	}
	if len(t.Volumes) > MaxNodeReservations {
		return FieldErrorf("volumes", "are %d, at most %d are allowed", len(t.Volumes), MaxNodeReservations)
	}
	var paths []string
	for i := range t.Volumes {
		p := t.Volumes[i].Path
		if err := ValidateVolumePath(p); err != nil {
			return err
		}
		if slices.ContainsFunc(paths, func(q string) bool { return p == q || strings.HasPrefix(p, q+"/") || strings.HasPrefix(q, p+"/") }) {
			return FieldErrorf("volumes", "two of them are at %s, or one is in the other: give each a path of its own", p)
		}
		paths = append(paths, p)
	}
	return nil
}
