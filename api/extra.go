package api

// Extra keeps the fields of a newer version that this version does not know,
// so that they survive a round trip through the log and the snapshot of an
// older node during a rolling upgrade. Nouns and the structs in them embed it.
// Those of which sums are made do not, nor commands: they are refused, as without
// the field something else would come of them. The method names are
// those the log's codec looks for.
type Extra struct {
	unknown *map[string]any // a pointer, so that what embeds it can be compared
}

// CodecMissingField keeps a field that the noun does not have.
func (e *Extra) CodecMissingField(field []byte, value any) bool {
	if e.unknown == nil {
		e.unknown = &map[string]any{}
	}
	(*e.unknown)[string(field)] = value
	return true
}

// CodecMissingFields returns the kept fields.
func (e *Extra) CodecMissingFields() map[string]any {
	if e.unknown == nil {
		return nil
	}
	return *e.unknown
}
