package fetch

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// server has files by their paths, and what a handler does.
func server(t *testing.T, files map[string][]byte, special http.HandlerFunc) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, ok := files[r.URL.Path]; ok {
			http.ServeContent(w, r, "", time.Unix(1_000_000, 0), bytes.NewReader(b))
			return
		}
		if special != nil {
			special(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// fetch has the files be in a folder, which it returns.
func fetch(t *testing.T, o Order) (dir string, err error) {
	dir = filepath.Join(t.TempDir(), "task")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if o.Max == 0 {
		o.Max = 8 << 20
	}
	_, err = o.run(t.Context(), dir)
	return dir, err
}

// content is all that is below a folder: its files' contents, links' targets, modes.
func content(t *testing.T, dir string) string {
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch fi, _ := d.Info(); {
		case d.IsDir():
			out = append(out, name+"/")
		case fi.Mode()&os.ModeSymlink != 0:
			to, err := os.Readlink(path)
			out = append(out, name+" -> "+to)
			return err
		default:
			b, err := os.ReadFile(path)
			if len(b) > 20 {
				b = b[:20]
			}
			out = append(out, fmt.Sprintf("%s %v %q", name, fi.Mode(), b))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, "\n")
}

func entry(name string, body string) *tar.Header {
	return &tar.Header{Name: name, Mode: 0o640, Size: int64(len(body)), Typeflag: tar.TypeReg}
}

// tarOf packs headers; each file has its own name as its content.
func tarOf(t testing.TB, headers ...*tar.Header) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.CopyN(w, endless(h.Name), h.Size); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type endless string

func (e endless) Read(p []byte) (int, error) {
	if e == "" {
		e = "0"
	}
	for i := range p {
		p[i] = e[i%len(e)]
	}
	return len(p), nil
}

func gz(t testing.TB, b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zipOf(t testing.TB, names map[string]os.FileMode) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, mode := range names {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(mode)
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if !mode.IsDir() {
			if _, err := f.Write([]byte(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// bz2 is a tar with the file a, of "packed\n".
const bz2 = "QlpoOTFBWSZTWTwWO4AAAHL7hMkQAEhAAH+AAADuCN4AAACACCAAdBpTGppo0B5QbUeoJKnlA0DQaBoJ/bXO6EFlQCRGNpnpCsyoSQMt2HmzUgpOAqSrQzjKuU1uhM+KQiFZF8tZAwe/FnMO5kRAfi7kinChIHgsdwA="

// What is fetched is in the folder under its name, and unpacked by the end of that.
func TestFetch(t *testing.T) {
	pack := tarOf(t, &tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, &tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o500}, entry("d/f", "d/f"), entry("new/g", "12"),
		&tar.Header{Name: "run", Typeflag: tar.TypeReg, Mode: 0o4755, Size: 3}, &tar.Header{Name: "s", Typeflag: tar.TypeSymlink, Linkname: "d/f"}, &tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "d/f"})
	const unpacked = "\nd/\nd/f -rw-r----- \"d/f\"\nh -rw-r----- \"d/f\"\nnew/\nnew/g -rw-r----- \"ne\"\nrun -rwxr-xr-x \"run\"\ns -> d/f"
	packed, err := base64.StdEncoding.DecodeString(bz2)
	if err != nil {
		t.Fatal(err)
	}
	plain := []byte("plain")
	sum := fmt.Sprintf("#sha256=%x", sha256.Sum256(plain))
	url := server(t, map[string][]byte{"/plain": plain, "/p.tgz": gz(t, pack), "/p.tar": pack, "/g.gz": gz(t, plain), "/p.tbz2": packed,
		"/z.zip": zipOf(t, map[string]os.FileMode{"z/": os.ModeDir | 0o755, "z/f": 0o600})}, nil)
	local := filepath.Join(t.TempDir(), "local")
	if err := os.WriteFile(local, plain, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		fetch api.Fetch
		want  string
	}{
		{"plain", api.Fetch{URI: url + "/plain?a=b", Extract: true}, `plain -rw-r--r-- "plain"`},
		{"executable", api.Fetch{URI: url + "/plain", Executable: true}, `plain -rwxr-xr-x "plain"`},
		{"its name", api.Fetch{URI: url + "/plain", Output: "a/b/c"}, "a/\na/b/\na/b/c -rw-r--r-- \"plain\""},
		{"checksum", api.Fetch{URI: url + "/plain" + sum}, `plain -rw-r--r-- "plain"`},
		{"path", api.Fetch{URI: local, Extract: true}, `local -rw-r--r-- "plain"`},
		{"file", api.Fetch{URI: "file://" + local}, `local -rw-r--r-- "plain"`},
		{"tar", api.Fetch{URI: url + "/p.tar", Extract: true}, "p.tar" + unpacked},
		{"tgz", api.Fetch{URI: url + "/p.tgz", Extract: true}, "p.tgz" + unpacked},
		{"an archive by the name that it is given", api.Fetch{URI: url + "/g.gz", Extract: true, Output: "x/v.gz"}, "x/"},
		{"tgz not unpacked", api.Fetch{URI: url + "/p.tgz"}, ""},
		{"tgz executable", api.Fetch{URI: url + "/p.tgz", Extract: true, Executable: true}, ""},
		{"bzip2", api.Fetch{URI: url + "/p.tbz2", Extract: true}, "\na -rw-r--r-- \"packed\\n\"\np.tbz2"},
		{"gzip", api.Fetch{URI: url + "/g.gz", Extract: true}, "g -rw-r--r-- \"plain\"\ng.gz"},
		{"zip", api.Fetch{URI: url + "/z.zip", Extract: true}, "\nz/\nz/f -rw------- \"z/f\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := fetch(t, Order{Files: []api.Fetch{c.fetch}})
			if err != nil {
				t.Fatal(err)
			}
			got := content(t, dir)
			for _, line := range strings.Split(c.want, "\n") {
				if !strings.Contains("\n"+got, "\n"+line) {
					t.Errorf("there is no %q in\n%s", line, got)
				}
			}
			if c.want == "" && strings.Count(got, "\n") > 0 {
				t.Errorf("it was unpacked:\n%s", got)
			}
		})
	}
}

// No archive writes outside of the folder, follows a link out of it, makes a device, or
// takes more than it may; the file beside the folder stays as it is.
func TestHostileArchives(t *testing.T) {
	beside := "../beside"
	for _, c := range []struct {
		name    string
		archive func() []byte
		says    string
	}{
		{"p.tar", func() []byte { return tarOf(t, entry(beside, "x")) }, "is not within the folder"},
		{"p.tar", func() []byte { return tarOf(t, entry("a/../../beside", "x")) }, "is not within the folder"},
		{"p.tar", func() []byte { return tarOf(t, entry("/tmp/mesita-escaped", "x")) }, "is not within the folder"},
		{"p.tar", func() []byte {
			return tarOf(t, &tar.Header{Name: "out", Typeflag: tar.TypeSymlink, Linkname: ".."}, entry("out/beside", "x"))
		}, "is not a folder within the task's, and something is to be in it"},
		{"p.tar", func() []byte {
			return tarOf(t, &tar.Header{Name: "a", Typeflag: tar.TypeDir, Mode: 0o755}, &tar.Header{Name: "a/b", Typeflag: tar.TypeSymlink, Linkname: "../.."}, entry("a/b/beside", "x"))
		}, "is not a folder within the task's, and something is to be in it"},
		{"p.tar", func() []byte { return tarOf(t, &tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: beside}) }, "is not within the folder"},
		{"p.tar", func() []byte {
			return tarOf(t, &tar.Header{Name: "s", Typeflag: tar.TypeSymlink, Linkname: beside}, &tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "s"}, entry("h", "x"))
		}, "is not a file of it"},
		{"p.tar", func() []byte {
			return tarOf(t, &tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666})
		}, "is neither a file, nor a folder, nor a link"},
		{"p.tar", func() []byte { return tarOf(t, &tar.Header{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o666}) }, "is neither a file, nor a folder, nor a link"},
		{"p.tgz", func() []byte {
			return gz(t, tarOf(t, &tar.Header{Name: "big", Typeflag: tar.TypeReg, Mode: 0o600, Size: 64 << 20}))
		}, "it is larger than what may be fetched here"},
		{"p.gz", func() []byte { return gz(t, make([]byte, 64<<20)) }, "it is larger than what may be fetched here"},
		{"p.tar", func() []byte { return tarOf(t, entry(strings.Repeat("a/", maxDepth)+"b", "x")) }, "folders deep"},
		{"p.tgz", func() []byte { return gz(t, tarOf(t, inFolders(3000)...)) }, "it is larger than what may be fetched here"},
		{"p.tgz", func() []byte { return gz(t, tarOf(t, links(3000)...)) }, "it is larger than what may be fetched here"},
		{"p.zip", func() []byte { return zipOf(t, map[string]os.FileMode{beside: 0o600}) }, "is not within the folder"},
		{"p.zip", func() []byte { return zipOf(t, map[string]os.FileMode{"dev": os.ModeDevice | 0o600}) }, "is neither a file, nor a folder, nor a link"},
		{"p.zip", func() []byte { return []byte("no zip") }, "not a valid zip file"},
		{"p.tgz", func() []byte { return []byte("no gzip at all") }, "invalid header"},
		{"p.tgz", func() []byte { b := gz(t, tarOf(t, entry("a", "x"))); return b[:len(b)-12] }, "unexpected EOF"},
		{"p.tar", func() []byte { return tarOf(t, entry("a", "x"))[:500] }, "unexpected EOF"},
		{"p.tbz2", func() []byte { return []byte("BZno") }, "bzip2"},
		{"p.tar", func() []byte {
			return tarOf(t, entry("d", "x"), entry("d/f", "x"))
		}, "d is not a folder within the task's, and something is to be in it"},
	} {
		t.Run(c.says, func(t *testing.T) {
			url := server(t, map[string][]byte{"/" + c.name: c.archive()}, nil)
			dir, err := fetch(t, Order{Files: []api.Fetch{{URI: url + "/" + c.name, Extract: true}}})
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "fetch "+url+"/"+c.name+": unpack it: ") {
				t.Errorf("error %v, not %q", err, c.says)
			}
			for _, out := range []string{filepath.Join(dir, beside), "/tmp/mesita-escaped"} {
				if _, err := os.Lstat(out); err == nil {
					t.Errorf("it wrote %s", out)
				}
			}
		})
	}
}

// inFolders are files with so many folders, nearly as deep as they may be.
func inFolders(n int) (out []*tar.Header) {
	for i := range n / 90 {
		out = append(out, entry(fmt.Sprintf("%d/%sb", i, strings.Repeat("a/", 90)), "x"))
	}
	return out
}

func links(n int) (out []*tar.Header) {
	for i := range n {
		out = append(out, &tar.Header{Name: fmt.Sprint(i), Typeflag: tar.TypeSymlink, Linkname: "x"})
	}
	return out
}

// A process that was begun after another one, which may still be in the folder, has its files
// be whole there.
func TestTwoInAFolder(t *testing.T) {
	begun, gates := make(chan int), []chan struct{}{make(chan struct{}), make(chan struct{})}
	var asked atomic.Int32
	url := server(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		n := int(asked.Add(1)) - 1
		fmt.Fprint(w, "begins, ")
		w.(http.Flusher).Flush()
		begun <- n
		<-gates[n]
		fmt.Fprint(w, "ends")
	})
	dir := t.TempDir()
	run := func(name string) chan error {
		done := make(chan error, 1)
		o := Order{Max: 1 << 20, Name: name, Files: []api.Fetch{{URI: url + "/a"}}}
		go func() {
			_, err := o.run(t.Context(), dir)
			done <- err
		}()
		<-begun
		return done
	}
	first, second := run("one"), run("two")
	close(gates[0])
	<-first // it is nobody's by now
	close(gates[1])
	if err := <-second; err != nil {
		t.Error(err)
	}
	if got := content(t, dir); !strings.Contains(got, "begins, ends") || strings.Contains(got, incoming) {
		t.Errorf("in it is %s", got)
	}
}

// A link of the task's own, from before, does not lead a file out of the folder either.
func TestLinkFromBefore(t *testing.T) {
	url := server(t, map[string][]byte{"/a": []byte("new")}, nil)
	dir := t.TempDir()
	out := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(out, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"a": out, incoming: out, "d": filepath.Dir(out)} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	o := Order{Max: 1 << 20, Files: []api.Fetch{{URI: url + "/a"}}}
	if _, err := o.run(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	o.Files[0].Output = "d/out"
	if _, err := o.run(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "d is not a folder within") {
		t.Errorf("error %v", err)
	}
	if b, _ := os.ReadFile(out); string(b) != "old" {
		t.Errorf("what is outside is %q now", b)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "a")); string(b) != "new" {
		t.Errorf("the file is %q", b)
	}
}

// What a server does wrong is told in words, and nothing is left of what came.
func TestBadServers(t *testing.T) {
	stall := make(chan struct{})
	url := server(t, nil, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/ftp":
			http.Redirect(w, r, "ftp://elsewhere/a", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/huge":
			w.Header().Set("Content-Length", "107374182400")
		case "/more":
			_, _ = io.CopyN(w, endless("0"), 64<<20) // it is hung up on
		case "/cut":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("ten bytes…"))
		case "/stall":
			_, _ = w.Write([]byte("a"))
			_ = http.NewResponseController(w).Flush()
			<-stall
		case "/silent":
			<-stall
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	})
	defer close(stall)
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for uri, says := range map[string]string{
		url + "/loop": "it was sent on more than 10 times", url + "/ftp": `it was sent on to a URI of the kind "ftp", and http and https are followed`, url + "/file": `of the kind "file"`,
		url + "/huge": "it has 100GiB, and at most 8MiB more may be fetched here", url + "/more": "it is larger than what may be fetched here", url + "/cut": "the server ended before all of it was sent",
		url + "/stall": "nothing came for 100ms, and it was given up", url + "/silent": "nothing came for 100ms, and it was given up", url + "/empty": "the server answered 204 No Content", url + "/no?key=secret": "the server answered 403 Forbidden",
		"http://127.0.0.1:1/a":             "connection refused",
		"https" + url[len("http"):] + "/a": "server gave HTTP response to HTTPS client",
		pipe:                               "it is not a file",
		t.TempDir():                        "it is not a file",
		"/no/such/file":                    "no such file or directory",
		url + "/loop#sha256=" + strings.Repeat("0", 64): "it was sent on more than 10 times",
	} {
		o := Order{Files: []api.Fetch{{URI: uri}}}
		if strings.Contains(says, "nothing came") {
			o.Stall = api.Duration(100 * time.Millisecond) // no other is to be slow enough
		}
		dir, err := fetch(t, o)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v, not %q", uri, err, says)
		}
		if left := content(t, dir); left != "" {
			t.Errorf("%s leaves %s", uri, left)
		}
	}
	plain := server(t, map[string][]byte{"/a": []byte("plain")}, nil)
	if _, err := fetch(t, Order{Files: []api.Fetch{{URI: plain + "/a#sha256=" + strings.Repeat("0", 64)}}}); err == nil || !strings.Contains(err.Error(), "and the URI says 0000") {
		t.Errorf("a wrong checksum: %v", err)
	}
	if _, err := fetch(t, Order{Files: []api.Fetch{{URI: url + "/stall"}}, Total: api.Duration(100 * time.Millisecond)}); err == nil || !strings.Contains(err.Error(), "it was not done within 100ms, and was given up") {
		t.Errorf("too long: %v", err)
	}
	if _, err := fetch(t, Order{Files: []api.Fetch{{URI: server(t, map[string][]byte{"/a": make([]byte, 32<<20)}, nil) + "/a"}}, Max: 1 << 40, Reserve: 1 << 60}); err == nil || !strings.Contains(err.Error(), "the node's disk has no more room for it") {
		t.Errorf("a full disk: %v", err)
	}
}
