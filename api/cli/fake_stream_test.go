package cli

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"time"

	"github.com/mesita/mesita/api"
)

func (f *fake) logs(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	t, err := f.task(r.PathValue("id"))
	f.looks[r.PathValue("id")]++
	f.mu.Unlock()
	attempt, q := "now", r.URL.Query()
	if q.Get("attempt") == "-1" {
		attempt = "before"
	}
	switch {
	case err != nil:
	case t.Pending() && t.Attempt <= 1:
		err = api.Errorf(api.CodeConflict, "task %s has not been started yet", t.ID)
	case attempt == "before" && len(t.Earlier) == 0:
		err = api.Errorf(api.CodeNotFound, "task %s has no earlier attempt", t.ID)
	}
	if err != nil || q.Get("tail") == "0" {
		reply(w, nil, err)
		return
	}
	e := json.NewEncoder(w)
	for i, text := range []string{"begin " + attempt + "\n", "a warning\n", "half a ", "line"} {
		stream := "stdout"
		if i == 1 {
			stream = "stderr"
		}
		_ = e.Encode(map[string]any{"time": f.now.Add(time.Duration(i)), "stream": stream, "text": text, "task": t.ID, "attempt": 1}) // gone if this fails
	}
}

// exec echoes its input, then exits with the number of words of the command.
func (f *fake) exec(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: mesita-exec\r\n\r\n")
	command := r.URL.Query()["cmd"]
	var input bytes.Buffer
	for {
		kind, p, err := readFrame(rw.Reader)
		switch {
		case err != nil:
			return
		case kind == 0 && isCopying(command):
			input.Write(p)
		case kind == 5 && isCopying(command):
			f.copyHere(conn, command, &input)
			return
		case kind == 0:
			_, _ = conn.Write(frame(1, p)) // gone if this fails
		case kind == 6:
			_, _ = conn.Write(frame(4, binary.BigEndian.AppendUint32(nil, 128+uint32(p[0])))) // gone if this fails
			return
		case kind == 5:
			_, _ = conn.Write(frame(4, binary.BigEndian.AppendUint32(nil, uint32(len(r.URL.Query()["cmd"]))))) // gone if this fails
			return
		}
	}
}

// isCopying reports whether a command is one by which files are copied: those are run here.
func isCopying(command []string) bool { return command[0] == "tar" || command[0] == "sh" }

// copyHere runs a command beside this program, in the folder that a task would have.
func (f *fake) copyHere(conn net.Conn, command []string, input io.Reader) {
	var out, said bytes.Buffer
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = f.dir, input, &out, &said
	err := cmd.Run()
	code := uint32(0)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = uint32(exit.ExitCode())
	} else if err != nil {
		code = 127
	}
	for kind, b := range map[byte]*bytes.Buffer{1: &out, 2: &said} {
		for b.Len() > 0 {
			_, _ = conn.Write(frame(kind, b.Next(32<<10))) // gone if this fails
		}
	}
	_, _ = conn.Write(frame(4, binary.BigEndian.AppendUint32(nil, code))) // gone if this fails
}

func readFrame(r *bufio.Reader) (byte, []byte, error) {
	var h [5]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	p := make([]byte, binary.BigEndian.Uint32(h[1:]))
	_, err := io.ReadFull(r, p)
	return h[0], p, err
}

func frame(kind byte, p []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(p))), p...)
}
