package api

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzDecode: whatever comes in place of a noun is read or refused, strictly and
// as another program's; what is read strictly can be written again.
func FuzzDecode(f *testing.F) {
	kinds := []func() any{
		func() any { return new(Task) },
		func() any { return new(Job) },
		func() any { return new(Node) },
		func() any { return new(Partition) },
		func() any { return new(Event) },
		func() any { return new(Incident) },
		func() any { return new(Cluster) },
		func() any { return new(Removal) },
		func() any { return new(NodeHello) },
		func() any { return new(struct{ Error *Error }) },
	}
	for kind, body := range map[byte]string{
		0: `{"id":"web.0","state":"TASK_DREAMING","desired":"hibernate","ports":{"http":80}}`,
		1: `{"state":"asleep","spec":{"kind":"moon","count":3,"affinity":["!db@zone"],"ports":["http=8080"],"constraints":["node.name=oak"]}}`,
		2: `{"id":"a","resources":{"cpus":"1.5","mem":"1GiB","ports":"20000-20010","custom":{"gpu":2}}}`,
		3: `{"path":"ml/train","guarantee":{"cpus":4},"weight":"2"}`,
		4: `{"index":1,"kind":"task.running","task":{"id":"a.0"}}`,
		9: `{"error":{"code":"invalid","message":"m"}}`,
	} {
		f.Add(kind, []byte(body))
	}
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		v, lenient := kinds[int(kind)%len(kinds)](), kinds[int(kind)%len(kinds)]()
		_ = DecodeLenient(body, lenient) // an error is an answer
		if DecodeStrict(bytes.NewReader(body), v) != nil {
			return
		}
		if _, err := json.Marshal(v); err != nil {
			t.Fatalf("%T was read from %q, and cannot be written: %v", v, body, err)
		}
	})
}
