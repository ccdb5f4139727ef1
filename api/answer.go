package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// MaxAnswer bounds what is read of one answer.
const MaxAnswer = 16 << 20

// ReadAnswer decodes what a node answered into out, unless that is nil; it returns the
// error that the node sent.
func ReadAnswer(res *http.Response, out any) error {
	b, err := io.ReadAll(io.LimitReader(res.Body, MaxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode >= 300 {
		var e struct {
			Error *Error `json:"error"`
		}
		if json.Unmarshal(b, &e) == nil && e.Error != nil {
			return e.Error
		}
		return Errorf(CodeUnavailable, "answered %s", res.Status)
	}
	if out == nil {
		return nil
	}
	if err := DecodeLenient(b, out); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}
