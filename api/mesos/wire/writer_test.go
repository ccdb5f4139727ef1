package wire

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

type shelf struct {
	Name  *string `wire:"1,name"`
	Room  *room   `wire:"3,room"`
	Other *room   `wire:"7,other"`
	Size  *int64  `wire:"20,size"`
}

type room struct {
	Words []string `wire:"2,words"`
	Rooms []*room  `wire:"1,rooms"`
	In    *room    `wire:"5,in"`
	Need  *needed  `wire:"6,need"`
}

type needed struct {
	It *room `wire:"1,it,required"`
}

// written is a message that was written in parts, in pieces as they come.
func written(t *testing.T, f Format, put func(w *Writer) error) []byte {
	t.Helper()
	var b []byte
	w := NewWriter(f, &shelf{}, func(p []byte) error { b = append(b, p...); return nil })
	if err := errors.Join(put(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// What is written in parts reads as what is written at once, in both forms.
func TestWriterWritesWhatMarshalDoes(t *testing.T) {
	words := make([]string, 5000) // of more than one piece
	for i := range words {
		words[i] = fmt.Sprint("word", i)
	}
	for name, c := range map[string]struct {
		put  func(w *Writer) error
		want shelf
	}{
		"empty": {func(*Writer) error { return nil }, shelf{}},
		"field": {func(w *Writer) error { return w.Put("x", "name") }, shelf{Name: new("x")}},
		"entered": {func(w *Writer) error { return errors.Join(w.Enter("room", "in"), w.Enter("other")) },
			shelf{Room: &room{In: &room{}}, Other: &room{}}},
		"lists": {func(w *Writer) error {
			errs := []error{w.Put("x", "name"), w.Enter("room")}
			for _, s := range words {
				errs = append(errs, w.Put(s, "room", "words"))
			}
			for _, s := range words[:2] {
				errs = append(errs, w.Put(&room{Words: []string{s}}, "room", "rooms"))
			}
			return errors.Join(append(errs, w.Put("deep", "room", "in", "in", "words"), w.Put(int64(7), "size"), w.Put("b", "other", "words"))...)
		}, shelf{Name: new("x"), Size: new(int64(7)), Other: &room{Words: []string{"b"}},
			Room: &room{Words: words, Rooms: []*room{{Words: words[:1]}, {Words: words[1:2]}}, In: &room{In: &room{Words: []string{"deep"}}}}}},
	} {
		for _, f := range []Format{JSON, Protobuf} {
			b := written(t, f, c.put)
			var got shelf
			if err := Unmarshal(f, b, &got); err != nil {
				t.Errorf("%s as %v: %v: %.200s", name, f, err, b)
			} else if !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s as %v: %.300s", name, f, b)
			}
		}
	}
}

// What a message requires has to be in what is put, and an error of who takes it ends it.
func TestWriterFails(t *testing.T) {
	for _, f := range []Format{JSON, Protobuf} {
		w := NewWriter(f, &shelf{}, func([]byte) error { return errors.New("full") })
		if err := w.Put(&needed{}, "room", "need"); err == nil || !strings.Contains(err.Error(), "it") {
			t.Errorf("%v", err)
		}
		if err := w.Put(strings.Repeat("x", piece), "name"); err == nil || err.Error() != "full" {
			t.Errorf("%v", err)
		}
	}
}
