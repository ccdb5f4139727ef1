package fsm

import (
	"encoding/binary"
	"fmt"
	"reflect"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// handle is the one encoding of the log and the snapshot: MessagePack maps
// keyed by the nouns' JSON names, so that fields can be added; what a version
// does not know stays in api.Extra.
var handle = func() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true}
	h.RawToString = true
	h.MapType = reflect.TypeFor[map[string]any]()
	h.Canonical = true
	h.ErrorIfNoField = true // see unmarshal
	return h
}()

func marshal(v any) ([]byte, error) {
	var b []byte
	if err := codec.NewEncoderBytes(&b, handle).Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return b, nil
}

// unmarshal fails on a field that v neither has nor keeps. The level of the
// cluster sees to it that there is none: what is applied without it would be
// something else than what the others apply.
func unmarshal(b []byte, v any) error {
	if err := codec.NewDecoderBytes(b, handle).Decode(v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}

// entryVersion is the first byte of a log entry.
const entryVersion = 1

// maxCommandBytes bounds one encoded command.
const maxCommandBytes = 8 << 20

// Encode packs commands into one log entry: a version, then for each its kind,
// its length and its encoding.
func Encode(cmds ...Command) ([]byte, error) {
	out := []byte{entryVersion}
	for _, c := range cmds {
		one, err := EncodeOne(c)
		if err != nil {
			return nil, err
		}
		out = append(out, one...)
	}
	return out, nil
}

// EncodeOne encodes a command so that Pack can join it with others.
func EncodeOne(c Command) ([]byte, error) {
	body, err := marshal(c)
	if err != nil {
		return nil, err
	}
	if len(body) > maxCommandBytes {
		return nil, fmt.Errorf("command %T has %d bytes, at most %d are allowed", c, len(body), maxCommandBytes)
	}
	kind := kindOf(c)
	if kinds[kind].squeeze {
		body = squeeze(body)
	}
	out := binary.AppendUvarint(make([]byte, 0, len(body)+8), uint64(kind))
	out = binary.AppendUvarint(out, uint64(len(body)))
	return append(out, body...), nil
}

// Pack joins commands encoded by EncodeOne into one log entry.
func Pack(encoded [][]byte) []byte {
	size := 1
	for _, e := range encoded {
		size += len(e)
	}
	out := append(make([]byte, 0, size), entryVersion)
	for _, e := range encoded {
		out = append(out, e...)
	}
	return out
}

// Decode takes a log entry apart. It fails on a version or a kind that this
// program does not know: a replica that skipped it would diverge.
func Decode(entry []byte) ([]Command, error) {
	if len(entry) == 0 || entry[0] != entryVersion {
		return nil, fmt.Errorf("log entry has version %d, this program reads %d: upgrade mesita on this node", first(entry), entryVersion)
	}
	var out []Command
	for b := entry[1:]; len(b) > 0; {
		kind, n := binary.Uvarint(b)
		size, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 || size > uint64(len(b)-n-m) {
			return nil, fmt.Errorf("log entry is cut off at command %d", len(out))
		}
		if kind >= uint64(len(kinds)) || kinds[kind].make == nil {
			return nil, fmt.Errorf("log entry has command kind %d, which this program does not know: upgrade mesita on this node", kind)
		}
		c := kinds[kind].make()
		b = b[n+m:]
		body := b[:size]
		if kinds[kind].squeeze {
			var err error
			if body, err = unsqueezed(body); err != nil {
				return nil, fmt.Errorf("command %T: %w", c, err)
			}
		}
		if err := unmarshal(body, c); err != nil {
			return nil, err
		}
		if err := readable(c); err != nil {
			return nil, err
		}
		out = append(out, c)
		b = b[size:]
	}
	return out, nil
}

func first(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[0]
}
