package cli

import (
	"bytes"
	"io"
	"net"
	"net/http"
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
