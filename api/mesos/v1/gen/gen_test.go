package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is in the repository is what gen makes of the table.
func TestFilesAreWhatGenMakes(t *testing.T) {
	want, err := generate(filepath.Join("..", "testdata", "fields.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range want {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s is not what gen makes (%v): run go generate in api/mesos/v1", name, err)
		}
	}
	files, err := filepath.Glob("../*.go")
	if err != nil || len(files) < len(want) {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(b, []byte("// Code generated")) && want[filepath.Base(f)] == nil {
			t.Errorf("%s is not made by gen any more: remove it", f)
		}
	}
}

// A table that cannot be is refused with the line, or the field, at fault.
func TestTablesThatCannotBe(t *testing.T) {
	const head = "package\tmessage\tkind\tnumber\tname\tlabel\ttype\tdefault\tnotes\n"
	row := func(columns ...string) string { return strings.Join(columns, "\t") + "\n" }
	for _, c := range []struct{ table, want string }{
		{row("mesos.v1", "TaskID", "field"), "line 2: 3 columns, want 9"},
		{row("mesos.v1", "TaskID", "field", "one", "value", "required", "string", "", ""), "line 2: "},
		{row("mesos.v1", "TaskID", "group", "1", "value", "required", "string", "", ""), `line 2: kind "group"`},
		{row("mesos.v1", "TaskID", "field", "1", "value", "required", "mesos.v1.Text", "", ""), "mesos.v1.TaskID.value: there is no type mesos.v1.Text"},
		{row("mesos.v1", "Unheard", "field", "1", "value", "required", "string", "", ""), "say in gen in which file it belongs"},
		{row("mesos.v1", "TaskID", "field", "1", "value", "required", "string", "", "") +
			row("mesos.v1.scheduler", "TaskID", "field", "1", "value", "required", "string", "", ""), "there are two of the name TaskID"},
	} {
		s, err := read(strings.NewReader(head + c.table))
		if err == nil {
			_, err = s.render()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.table, err, c.want)
		}
	}
}
