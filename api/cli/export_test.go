package cli

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What export writes can be applied: of nothing it writes neither a file nor a folder.
func TestNothingIsNotExported(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"items":[],"index":7}`)
	})}
	go srv.Serve(l)
	defer srv.Close()
	for _, more := range [][]string{nil, {"--with-programs", filepath.Join(dir, "out")}} {
		var out, errs bytes.Buffer
		code := Main(t.Context(), append([]string{"mesita", "--socket", filepath.Join(dir, "s"), "export", "--all"}, more...), strings.NewReader(""), &out, &errs)
		if code != 3 || out.Len() > 0 || !strings.Contains(errs.String(), "nothing to export") {
			t.Errorf("%v: exit code %d, %q, %q", more, code, out.String(), errs.String())
		}
		if made, _ := filepath.Glob(filepath.Join(dir, "out")); made != nil {
			t.Errorf("%v are made", made)
		}
	}
}

// A folder of that name is whole: an export that fails leaves what was there, and nothing
// beside it.
func TestAnExportThatFailsLeavesNothing(t *testing.T) {
	const program = "hello"
	digest := "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	whole := false
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v1/jobs":
			w.Header().Set("Content-Type", "application/json")
			job := func(name string) string {
				return `{"id":"` + name + `","spec":{"name":"` + name + `","kind":"service","command":["./server"],"program":"` + digest + `"}}`
			}
			io.WriteString(w, `{"items":[`+job("a")+`,`+job("b")+`],"index":7}`)
		case strings.HasPrefix(r.URL.Path, "/v1/blobs/") && whole:
			io.WriteString(w, program)
		case strings.HasPrefix(r.URL.Path, "/v1/blobs/"):
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"error":{"code":"not_found","message":"it was forgotten"}}`)
		default:
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"items":[],"index":7}`)
		}
	})}
	go srv.Serve(l)
	defer srv.Close()
	for _, there := range []bool{false, true} {
		in := t.TempDir()
		to := filepath.Join(in, "sub", "out")
		want := 0
		if there {
			to, want = filepath.Join(in, "out"), 1
			if err := os.Mkdir(to, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, whole = range []bool{false, true} {
			var out, errs bytes.Buffer
			code := Main(t.Context(), []string{"mesita", "--socket", filepath.Join(dir, "s"), "export", "--all", "--with-programs", to}, strings.NewReader(""), &out, &errs)
			left, err := os.ReadDir(filepath.Dir(to))
			if err != nil && there {
				t.Fatal(err)
			}
			inside, _ := os.ReadDir(to) // none, if it is not there
			switch {
			case !whole && (code == 0 || len(left) != want || len(inside) != 0):
				t.Errorf("there before: %v: exit code %d, %v and %v are left: %s", there, code, left, inside, errs.String())
			case whole && (code != 0 || len(left) != 1 || len(inside) != 4):
				t.Errorf("there before: %v: exit code %d, %v and %v are there: %s", there, code, left, inside, errs.String())
			}
		}
	}
}
