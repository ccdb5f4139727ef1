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
// does another user of the machine.
func (r *run) dev() {
	n := r.voters[0] // its network alone
	c := exec.Command("nsenter", "--net=/run/netns/"+n.NS, r.o.bin, "dev", "--http", devAddr, "--data", filepath.Join(r.lab.Dir, "dev"), "--slice", "mesita-"+n.NS+"-dev.slice", "--listen", "127.0.0.1:0", "--resources", "cpus=1,mem=256MiB,disk=256MiB")
	r.must(c.Start())
	defer func() {
		_ = c.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = c.Wait()
	}()
	call := func(method, path string, header map[string]string) int {
		conn, err := n.DialAddr(devAddr)
		if err != nil {
			return 0
		}
		defer conn.Close()
		if header["Host"] == "" {
			header = maps.Clone(header)
			if header == nil {
				header = map[string]string{}
			}
			header["Host"] = devAddr
		}
		status, _ := ask(r.stage, conn, method, path, "{}", header)
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
}

// devAsNobody is what another user of the machine does there.
func devAsNobody(addr string) string {
	res, err := http.Get("http://" + addr + "/v1/tokens")
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	return res.Status
}
