package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func read(t testing.TB, r io.Reader, max int) (records []string, err error) {
	t.Helper()
	rr := NewRecordReader(r, max)
	for {
		b, err := rr.Next()
		if err != nil {
			return records, err
		}
		records = append(records, string(b))
	}
}

// A stream is the same however it was cut, at each byte.
func TestRecordsAreReadHoweverTheyAreCut(t *testing.T) {
	want := []string{`{"type":"HEARTBEAT"}`, "", strings.Repeat("x", 5000), "\n3\nabc"}
	var stream []byte
	for _, r := range want {
		stream = AppendRecord(stream, []byte(r))
	}
	for cut := range len(stream) {
		r := io.MultiReader(bytes.NewReader(stream[:cut]), bytes.NewReader(stream[cut:]))
		got, err := read(t, r, 5000)
		if !errors.Is(err, io.EOF) || strings.Join(got, "|") != strings.Join(want, "|") {
			t.Fatalf("cut at %d: %d records, %v", cut, len(got), err)
		}
	}
	got, err := read(t, iotest.OneByteReader(bytes.NewReader(stream)), 5000)
	if !errors.Is(err, io.EOF) || strings.Join(got, "|") != strings.Join(want, "|") {
		t.Fatalf("byte by byte: %d records, %v", len(got), err)
	}
	// One that ends early is never taken for whole.
	end := 0
	for cut := range len(stream) {
		got, err := read(t, bytes.NewReader(stream[:cut]), 5000)
		whole := cut == 0
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("cut off at %d: record %d is %q", cut, i, got[i])
			}
		}
		var ends []int
		for _, r := range want {
			end = len(AppendRecord(nil, []byte(r)))
			ends = append(ends, end)
		}
		at := 0
		for _, e := range ends {
			at += e
			whole = whole || at == cut
		}
		if errors.Is(err, io.EOF) != whole || errors.Is(err, io.ErrUnexpectedEOF) == whole {
			t.Fatalf("cut off at %d: %v", cut, err)
		}
	}
}

func TestRecordsThatAreNot(t *testing.T) {
	for _, c := range []struct{ stream, want string }{
		{"6\nabcdef", "a record is larger than 5 bytes"},
		{"99999999999999999999999999\n", "a record is larger than 5 bytes"},
		{strings.Repeat("0", 30) + "1\na", "a record is larger than 5 bytes"},
		{"-1\na", `not with '-'`},
		{"\n", `not with '\n'`},
		{"0x2\nab", `not with 'x'`},
		{"2 \nab", `not with ' '`},
		{"{}\n", `not with '{'`},
	} {
		if _, err := read(t, strings.NewReader(c.stream), 5); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.stream, err, c.want)
		}
	}
}

// What a length claims costs nothing before it has come.
func TestAClaimedLengthAllocatesNothing(t *testing.T) {
	stream := []byte("1000000000\nabc")
	r := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := NewRecordReader(bytes.NewReader(stream), 1<<30).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
				b.Fatal(err)
			}
		}
	})
	if n := r.AllocedBytesPerOp(); n > 64<<10 {
		t.Errorf("%d bytes for a record of which three came", n)
	}
}

type note struct {
	Text string `wire:"1,text,required"`
}

type writes []string

func (w *writes) Write(b []byte) (int, error) {
	*w = append(*w, string(b))
	return len(b), nil
}

func TestARecordIsOneWrite(t *testing.T) {
	var w writes
	rw := NewRecordWriter(&w, JSON)
	for _, text := range []string{"a", strings.Repeat("b", 100), ""} {
		if err := rw.Write(&note{text}); err != nil {
			t.Fatal(err)
		}
	}
	want := writes{"12\n{\"text\":\"a\"}", "111\n{\"text\":\"" + strings.Repeat("b", 100) + "\"}", "11\n{\"text\":\"\"}"}
	if strings.Join(w, "|") != strings.Join(want, "|") {
		t.Errorf("got %q", w)
	}
}
