package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzRecords: a stream is read to its end or to what is wrong with it, the
// same in one piece and byte by byte; what was read is written as it came.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("20\n{\"type\":\"HEARTBEAT\"}0\n3\nabc"))
	f.Add([]byte("3\nab"))
	f.Add([]byte("99999999999999999999\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		got, err := read(t, bytes.NewReader(stream), 1000)
		again, err2 := read(t, iotest.OneByteReader(bytes.NewReader(stream)), 1000)
		if err.Error() != err2.Error() || len(got) != len(again) {
			t.Fatalf("%d records and %v, byte by byte %d and %v", len(got), err, len(again), err2)
		}
		var b []byte
		for i := range got {
			if got[i] != again[i] {
				t.Fatalf("record %d is %q, byte by byte %q", i, got[i], again[i])
			}
			b = AppendRecord(b, []byte(got[i]))
		}
		if errors.Is(err, io.EOF) && !bytes.Contains(stream, []byte("0")) && !bytes.Equal(b, stream) { // a length may begin with zeros
			t.Fatalf("%q is written as %q", stream, b)
		}
	})
}

// FuzzForms: what is read of one form is the same through the other.
func FuzzForms(f *testing.F) {
	for _, s := range []string{
		`{"text":"a","data":"aGk=","flag":"true","short":-1.5,"total":18446744073709551615,"ratio":1e-300,"color":"RED"}`,
		`{"leaf":{"id":"a","size":0.1},"words":["a",null],"named":{"k":{"id":"","size":-1}},"inner":{"inner":{}}}`,
		`{"need":{"leaf":{"id":"\ud834\udd1e","size":Infinity},"color":"BLUE","key":""},"trees":[{},{"flags":[true]}],"chunks":["","aa"]}`,
	} {
		f.Add(true, []byte(s))
		var m tree
		if err := Unmarshal(JSON, []byte(s), &m); err != nil {
			f.Fatal(err)
		}
		b, err := Marshal(Protobuf, &m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(false, b)
	}
	f.Fuzz(func(t *testing.T, json bool, data []byte) {
		form, other := Protobuf, JSON
		if json {
			form, other = JSON, Protobuf
		}
		var m, again, back tree
		if Unmarshal(form, data, &m) != nil {
			return
		}
		want, err := Marshal(JSON, &m)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			form Format
			m    *tree
			into *tree
		}{{other, &m, &again}, {form, &again, &back}} {
			b, err := Marshal(step.form, step.m)
			if err != nil {
				t.Fatal(err)
			}
			if err := Unmarshal(step.form, b, step.into); err != nil {
				t.Fatalf("%v %q was written, and is not read: %v", step.form, b, err)
			}
			if got, err := Marshal(JSON, step.into); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s became %s, %v", want, got, err)
			}
		}
	})
}
