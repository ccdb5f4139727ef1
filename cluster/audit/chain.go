package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/mesita/mesita/api"
)

const (
	hashStart = `,"hash":"`
	hashEnd   = `"}`
	hashSize  = 2 * sha256.Size
	maxLine   = 64 << 10
)

// link makes r the next of the chain after head, and returns its line.
func link(r *api.AuditRecord, head *api.AuditHead) ([]byte, error) {
	r.Number, r.Prev, r.Hash = head.Number+1, head.Hash, ""
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	r.Hash = sum(b)
	*head = api.AuditHead{Number: r.Number, Hash: r.Hash}
	b = append(b[:len(b)-1], hashStart+r.Hash+hashEnd...)
	return append(b, '\n'), nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

var errAltered = errors.New("it is not what was written")

// parse reads a line without its end, and fails unless it is as it was written.
func parse(line []byte) (*api.AuditRecord, error) {
	at := len(line) - len(hashStart) - hashSize - len(hashEnd)
	if at < 1 || !bytes.HasPrefix(line[at:], []byte(hashStart)) || !bytes.HasSuffix(line, []byte(hashEnd)) {
		return nil, errAltered
	}
	body := append(bytes.Clone(line[:at]), '}')
	if sum(body) != string(line[at+len(hashStart):][:hashSize]) {
		return nil, errAltered
	}
	r := new(api.AuditRecord)
	if err := api.DecodeLenient(line, r); err != nil {
		return nil, errAltered
	}
	return r, nil
}
