package fsm

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
)

// The first byte of the body of a command that may be compressed.
const (
	asItIs   = 0
	deflated = 1 // RFC 1951
)

// squeezeFrom is the size, in bytes, from which a command is compressed.
const squeezeFrom = 4 << 10

// squeeze compresses the body of a command that holds many alike, such as specs of
// jobs: to a tenth or less.
func squeeze(body []byte) []byte {
	if len(body) < squeezeFrom {
		return append([]byte{asItIs}, body...)
	}
	out := bytes.NewBuffer([]byte{deflated})
	w, err := flate.NewWriter(out, flate.BestSpeed)
	if err == nil {
		_, err = w.Write(body)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil { // nothing fails here but a level that there is not
		return append([]byte{asItIs}, body...)
	}
	return out.Bytes()
}

// unsqueezed undoes it, and takes no more memory than a command may have.
func unsqueezed(body []byte) ([]byte, error) {
	switch {
	case len(body) == 0:
		return nil, errors.New("is empty")
	case body[0] == asItIs:
		return body[1:], nil
	case body[0] != deflated:
		return nil, fmt.Errorf("is compressed by way %d, which this program does not know: upgrade mesita on this node", body[0])
	}
	r := flate.NewReader(bytes.NewReader(body[1:]))
	out, err := io.ReadAll(io.LimitReader(r, maxCommandBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot be decompressed: %w", err)
	case len(out) > maxCommandBytes:
		return nil, fmt.Errorf("has more than %d bytes", maxCommandBytes)
	}
	return out, nil
}
