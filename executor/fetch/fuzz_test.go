package fetch

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mesita/mesita/api"
)

// Whatever an archive has in it, nothing is written beside the folder, nor more into it
// than may be.
func FuzzArchives(f *testing.F) {
	names := []string{"a.tar", "a.tgz", "a.tbz2", "a.zip", "a.gz", "a.txz"}
	f.Add(uint8(0), tarOf(f, entry("d/a", "x"), entry("../a", "x")))
	f.Add(uint8(1), gz(f, tarOf(f, entry("a", "x"))))
	f.Add(uint8(3), zipOf(f, map[string]os.FileMode{"a": 0o644}))
	f.Add(uint8(4), gz(f, []byte("x")))
	f.Add(uint8(2), []byte("BZh9"))
	f.Add(uint8(5), unbase64(f, packedXZ))
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		const most = 1 << 20
		all := t.TempDir()
		dir := filepath.Join(all, "task")
		name := names[int(kind)%len(names)]
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		into := &folder{root: root, disk: dir, left: most}
		_ = into.unpack(t.Context(), name) // mostly it is not an archive
		if beside, err := os.ReadDir(all); err != nil || len(beside) != 1 {
			t.Errorf("beside the folder there is %v: %v", beside, err)
		}
		var size int64
		err = filepath.Walk(dir, func(_ string, fi os.FileInfo, err error) error {
			if err == nil && fi.Mode().IsRegular() {
				size += fi.Size()
			}
			return err
		})
		if err != nil || size > most+int64(len(data)) {
			t.Errorf("there are %d bytes: %v", size, err)
		}
	})
}

// Whatever a process says that came, no more is believed than that files of its order did.
func FuzzCame(f *testing.F) {
	files := []api.Fetch{{URI: "http://a/x"}, {URI: "http://a/y", Cache: true}, {URI: "/z", Cache: true}}
	f.Add([]byte(`{"1":{"size":3,"sum":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},"0":{},"2":{},"-1":{},"9":{}}`))
	f.Fuzz(func(t *testing.T, said []byte) {
		came, err := Came(said, files)
		for i, is := range came {
			if i != 1 || is.Size < 0 || len(is.Sum) != 32 || err != nil {
				t.Errorf("%d is %v, %v", i, is, err)
			}
		}
	})
}
