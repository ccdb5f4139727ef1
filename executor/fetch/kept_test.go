package fetch

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/mesita/mesita/api"
)

// What came and may be kept is told with its checksum and what its server says of it.
func TestOrigins(t *testing.T) {
	url := server(t, map[string][]byte{"/a": []byte("one"), "/b": []byte("two")}, nil)
	o := Order{Max: 1 << 20, Files: []api.Fetch{{URI: url + "/a"}, {URI: url + "/b", Cache: true}}}
	came, err := o.run(t.Context(), t.TempDir())
	if err != nil || len(came) != 1 {
		t.Fatalf("came %v, %v", came, err)
	}
	want := Origin{Size: 3, Modified: "Mon, 12 Jan 1970 13:46:40 GMT"}
	sum := sha256.Sum256([]byte("two"))
	if want.Sum = sum[:]; fmt.Sprint(came[1]) != fmt.Sprint(want) {
		t.Errorf("it is %v, not %v", came[1], want)
	}
}

// A file that its node has is taken from there unless its server says that it has another
// by now; one that does not answer does not say so.
func TestKeptFiles(t *testing.T) {
	var status, etag, body string
	gets := 0
	url := server(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", etag)
		if r.Method == http.MethodGet {
			gets++
		}
		if status != "" && r.Method == http.MethodHead {
			http.Error(w, status, http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		fmt.Fprint(w, body)
	})
	sum := sha256.Sum256([]byte("kept"))
	for _, c := range []struct {
		name, uri          string
		status, etag, body string
		want               string
	}{
		{"as it was", url + "/a", "", `"1"`, "same", "kept"},
		{"a server that does not say", url + "/a", "", "", "same", "kept"},
		{"another tag", url + "/a", "", `"2"`, "new!", "new!"},
		{"another size", url + "/a", "", "", "longer", "longer"},
		{"asking is refused", url + "/a", "no", `"2"`, "new", "kept"},
		{"nobody is there", "http://127.0.0.1:1/a", "", "", "", "kept"},
		{"what it is is known", url + "/a#sha256=" + fmt.Sprintf("%x", sum), "", `"2"`, "new", "kept"},
	} {
		dir := t.TempDir()
		kept := filepath.Join(dir, KeptName("me", 0))
		if err := os.WriteFile(kept, []byte("kept"), 0o600); err != nil {
			t.Fatal(err)
		}
		status, etag, body, gets = c.status, c.etag, c.body, 0
		o := Order{Max: 1 << 20, Name: "me", Files: []api.Fetch{{URI: c.uri, Cache: true, Executable: true}}, Kept: map[int]Origin{0: {Size: 4, Sum: sum[:], ETag: `"1"`}}}
		came, err := o.run(t.Context(), dir)
		if got, want := content(t, dir), fmt.Sprintf("a -rwxr-xr-x %q", c.want); err != nil || got != want {
			t.Errorf("%s: there is %s, %v, not %s", c.name, got, err, want)
		}
		if anew := c.want != "kept"; len(came) == 1 != anew || gets == 1 != anew {
			t.Errorf("%s: came %v, asked %d times", c.name, came, gets)
		}
	}
}
