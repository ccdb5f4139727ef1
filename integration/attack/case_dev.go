package main

import (
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/mesita/mesita/integration/lab"
)

const devAddr = "127.0.0.1:8080"

// dev: at a node for trying things out, which takes root without credentials, a
// page of somebody else that runs in root's browser does nothing, and neither
// does another user of the machine, nor root in a task.
func (r *run) dev() {
	n := r.voters[0] // its network alone
	c := exec.Command("nsenter", "--net=/run/netns/"+n.NS, r.o.bin, "dev", "--http", devAddr, "--data", filepath.Join(r.lab.Dir, "dev"), "--slice", "mesita-"+n.NS+"-dev.slice", "--listen", "127.0.0.1:0", "--resources", "cpus=1,mem=256MiB,disk=256MiB")
	r.must(c.Start())
	defer func() {
		_ = c.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = c.Wait()
	}()
	tell := func(method, path, body string, header map[string]string) (int, string) {
		conn, err := n.DialAddr(devAddr)
		if err != nil {
			return 0, ""
		}
		defer conn.Close()
		if header["Host"] == "" {
			header = maps.Clone(header)
			if header == nil {
				header = map[string]string{}
			}
			header["Host"] = devAddr
		}
		return ask(r.stage, conn, method, path, body, header)
	}
	call := func(method, path string, header map[string]string) int {
		status, _ := tell(method, path, "{}", header)
		return status
	}
	r.lab.Await(lab.Patience, "the node for trying things out", func() bool { return call("GET", "/v1/health", nil) == http.StatusOK })
	if status := call("GET", "/v1/cluster", nil); status != http.StatusOK {
		r.stage.Errorf("root at dev: status %d", status)
	}
	for name, header := range map[string]map[string]string{
		"a page of another origin":  {"Origin": "http://evil.example"},
		"a page of no origin":       {"Origin": "null"},
		"a name that was rebound":   {"Host": "evil.example:8080"},
		"a fetch from another site": {"Sec-Fetch-Site": "cross-site"},
	} {
		for _, to := range [][2]string{{"GET", "/v1/tokens"}, {"POST", "/v1/tokens"}, {"DELETE", "/v1/jobs/x"}} {
			if to[0] == "GET" && header["Host"] == "" {
				continue // it changes nothing, and the browser shows the page nothing of it
			}
			if status := call(to[0], to[1], header); status != http.StatusForbidden && status != http.StatusUnauthorized {
				r.stage.Errorf("%s: %s %s: status %d", name, to[0], to[1], status)
			}
		}
	}
	out, err := r.asNobody(n, "dev", devAddr)
	if r.must(err); !strings.HasPrefix(out, "401") && !strings.HasPrefix(out, "403") {
		r.stage.Errorf("another user of the machine at dev: %s", out)
	}
	// Root in a task is the same user as the daemon.
	if status, said := tell("POST", "/v1/jobs", devInside, nil); status != http.StatusCreated {
		r.stage.Fatalf("a job at dev: status %d: %s", status, said)
	}
	r.lab.Await(lab.Patience, "the end of a task at dev", func() bool {
		_, said := tell("GET", "/v1/jobs/inside", "", nil)
		return strings.Contains(said, `"ended"`)
	})
	if _, said := tell("GET", "/v1/tasks/inside.0/logs", "", nil); !strings.Contains(said, " 403 ") && !strings.Contains(said, " 401 ") {
		r.stage.Errorf("root in a task at dev: %s", said)
	}
}

// devInside is a task that asks for what takes an admin.
const devInside = `{"name":"inside","kind":"batch","command":["/bin/bash","-c","exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /v1/tokens HTTP/1.0\\r\\nHost: 127.0.0.1:8080\\r\\n\\r\\n' >&3 && head -n1 <&3"]}`

// devAsNobody is what another user of the machine does there.
func devAsNobody(addr string) string {
	res, err := http.Get("http://" + addr + "/v1/tokens")
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	return res.Status
}
