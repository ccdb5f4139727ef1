package fetch

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"github.com/mesita/mesita/api"
)

// unpackAs unpacks what ends so in its name.
func (d *folder) unpackAs(end, name string, f until) error {
	in := bufio.NewReaderSize(f, 64<<10)
	switch end {
	case ".zip":
		return d.unzip(f)
	case ".gz":
		z, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		return d.put(extracted{name: strings.TrimSuffix(name, end), mode: 0o644}, z)
	case ".tgz", ".tar.gz":
		z, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		return d.untar(z)
	case ".tbz2", ".tar.bz2":
		return d.untar(bzip2.NewReader(in))
	case ".txz", ".tar.xz":
		if w := window(in); w > maxWindow {
			return fmt.Errorf("it takes more than %s of memory: pack it with xz -9 at most", api.Bytes(maxWindow))
		}
		z, err := xz.NewReader(in)
		if err != nil {
			return err
		}
		return d.untar(z)
	default:
		return d.untar(in)
	}
}

// maxWindow is what unpacking xz may hold in memory, which is what xz -9 asks for.
const maxWindow = 64 << 20

// window is what the first block of an xz file says of the memory that it takes, in
// bytes; 0: it is none, or broken. A later block may say more, as no program writes it:
// what that takes is bounded by the group of the process that unpacks. The format is that
// of The .xz File Format 1.2.1, sections 2.1.1 and 3.1.
func window(in *bufio.Reader) int64 {
	const header, lzma2 = 12, 0x21
	b, _ := in.Peek(header + 1024) // a block's header is no longer
	if len(b) < header+2 {
		return 0
	}
	flags, fields := b[header+1], bytes.NewReader(b[header+2:])
	number := func() uint64 {
		n, err := binary.ReadUvarint(fields)
		if err != nil {
			return 0
		}
		return n
	}
	for _, size := range []byte{0x40, 0x80} { // packed and not, where it says so
		if flags&size != 0 {
			number()
		}
	}
	for range flags&3 + 1 {
		id, size := number(), number()
		if id == lzma2 {
			bits, _ := fields.ReadByte()
			n, err := lzma.DecodeDictCap(bits)
			if err != nil {
				return 0
			}
			return n
		}
		_, _ = fields.Seek(int64(min(size, 1024)), io.SeekCurrent) // a place after the end has no filter
	}
	return 0
}

// maxPadding is more than what tar writes after the end of an archive.
const maxPadding = 16 << 20

func (d *folder) untar(in io.Reader) error {
	t := tar.NewReader(in)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.CopyN(io.Discard, in, maxPadding) // so that a checksum at the end is looked at
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err != nil {
			return err
		}
		e := extracted{name: h.Name, mode: h.FileInfo().Mode(), time: h.ModTime, link: h.Linkname}
		switch h.Typeflag {
		case tar.TypeLink:
			e.hard, e.mode = true, e.mode.Perm()
		case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeGNUSparse:
		case tar.TypeXGlobalHeader:
			continue
		default:
			e.mode |= os.ModeIrregular
		}
		if err := d.put(e, t); err != nil {
			return err
		}
	}
}

// maxTarget is the longest that a symbolic link can be.
const maxTarget = 4095

func (d *folder) unzip(f until) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	z, err := zip.NewReader(f, fi.Size())
	if err != nil {
		return err
	}
	for _, h := range z.File {
		if err := d.unzipOne(h); err != nil {
			return err
		}
	}
	return nil
}

func (d *folder) unzipOne(h *zip.File) error {
	e := extracted{name: h.Name, mode: h.Mode(), time: h.Modified}
	if h.Flags&1 != 0 {
		return fmt.Errorf("its entry %.100q is encrypted", h.Name)
	}
	if e.mode.IsDir() {
		return d.put(e, nil)
	}
	in, err := h.Open()
	if err != nil {
		return fmt.Errorf("its entry %.100q: %w", h.Name, err)
	}
	defer in.Close()
	if e.mode.Type() == os.ModeSymlink {
		target, err := io.ReadAll(io.LimitReader(in, maxTarget+1))
		if err != nil || len(target) > maxTarget {
			return fmt.Errorf("its entry %.100q is not a symbolic link that can be made", h.Name)
		}
		e.link = string(target)
	}
	return d.put(e, in)
}
