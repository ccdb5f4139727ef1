package client

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// serve starts a server that speaks plain HTTP on loopback, and is its address.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

// closed is an address at which nothing answers.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
}

func refuse(w http.ResponseWriter, e *api.Error) {
	answer(w, e.Code.HTTPStatus(), map[string]*api.Error{"error": e})
}

// want checks an error's code and a part of its text.
func want(t *testing.T, err error, code api.Code, text string) {
	t.Helper()
	if api.ErrorCode(err) != code || !strings.Contains(err.Error(), text) {
		t.Fatalf("error %v (%s), want %s with %q", err, api.ErrorCode(err), code, text)
	}
}

func TestErrorsKeepCodeAndField(t *testing.T) {
	for _, code := range []api.Code{api.CodeInvalid, api.CodeNotFound, api.CodeNotAllowed, api.CodeConflict, api.CodeTimeout, api.CodeDoesNotFit, api.CodeTooLarge, api.CodeInternal} {
		tries := 0
		c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
			tries++
			refuse(w, &api.Error{Code: code, Field: "mem", Message: "is wrong"})
		})}})
		_, err := c.Job(t.Context(), "web")
		var e *api.Error
		if !errors.As(err, &e) || e.Code != code || e.Field != "mem" || e.Message != "is wrong" || tries != 1 {
			t.Errorf("%s: got %#v after %d tries", code, err, tries)
		}
	}
}

func TestRetriesKeepTheKey(t *testing.T) {
	var mu sync.Mutex // a request whose connection broke may still be answered as the next one comes
	var keys []string
	seen := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(keys)
	}
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		try := len(keys)
		mu.Unlock()
		var s api.JobSpec
		if err := api.DecodeStrict(r.Body, &s); err != nil || s.Name != "web" {
			t.Errorf("try %d: body %v %v", try, s, err)
		}
		switch try {
		case 1:
			refuse(w, api.Errorf(api.CodeUnavailable, "no leader"))
		case 2:
			refuse(w, api.Errorf(api.CodeUnknown, "lost the lead"))
		case 3:
			panic(http.ErrAbortHandler) // the answer is lost
		default:
			answer(w, http.StatusCreated, api.Job{ID: "web", Spec: &s})
		}
	})}, Token: "msc1-a.b"})
	j, err := c.Submit(t.Context(), &api.JobSpec{Name: "web"})
	if err != nil || j.ID != "web" {
		t.Fatal(j, err)
	}
	first := seen()
	if len(first) != 4 || first[0] == "" || first[1] != first[0] || first[2] != first[0] || first[3] != first[0] {
		t.Fatalf("keys %q, want four times the same", first)
	}
	if _, err := c.Submit(t.Context(), &api.JobSpec{Name: "web"}); err != nil || seen()[4] == first[0] {
		t.Fatalf("another call has the same key %q (%v)", seen()[4], err)
	}
}

func TestOtherAddressesAreTried(t *testing.T) {
	var good atomic.Int32
	works := serve(t, func(w http.ResponseWriter, r *http.Request) {
		good.Add(1)
		answer(w, 200, api.Health{Leader: "oak", Quorum: true})
	})
	var asked atomic.Int32
	noLeader := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		answer(w, 503, api.Health{Reason: "no quorum"})
	})
	c := newClient(t, Config{Addrs: []string{closed(t), noLeader, works}, Patience: -1})
	for range 3 {
		if h, err := c.Health(t.Context()); err != nil || h.Leader != "oak" {
			t.Fatal(h, err)
		}
	}
	if asked.Load() != 1 || good.Load() != 3 {
		t.Errorf("%d and %d requests, want the node that answered to be asked first from then on", asked.Load(), good.Load())
	}
}

func TestUnreachableSaysWhatWasTried(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "none.sock")
	_, err := newClient(t, Config{Socket: sock, Patience: -1}).Health(t.Context())
	want(t, err, api.CodeUnavailable, sock)
	want(t, err, api.CodeUnavailable, "mesita node start")

	a, b := closed(t), closed(t)
	_, err = newClient(t, Config{Addrs: []string{a, b}, Patience: 300 * time.Millisecond}).Health(t.Context())
	want(t, err, api.CodeUnavailable, a)
	want(t, err, api.CodeUnavailable, b)

	// What a node says weighs more than another's silence.
	says := serve(t, func(w http.ResponseWriter, r *http.Request) {
		answer(w, 503, api.Health{Reason: "the disk is full"})
	})
	_, err = newClient(t, Config{Addrs: []string{says, a}, Patience: -1}).Health(t.Context())
	want(t, err, api.CodeUnavailable, "the disk is full")
}

func TestCancelledWhileRetrying(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		cancel(why)
		refuse(w, api.Errorf(api.CodeUnavailable, "no leader"))
	})}, Patience: time.Hour})
	if _, err := c.Health(ctx); !errors.Is(err, why) {
		t.Fatalf("error %v, want %v", err, why)
	}
}

func TestRemovalWhoseAnswerWasLost(t *testing.T) {
	var tries atomic.Int32
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) == 1 {
			refuse(w, api.Errorf(api.CodeUnknown, "lost the lead"))
			return
		}
		refuse(w, api.Errorf(api.CodeNotFound, "no job"))
	})}})
	if err := c.RemoveJob(t.Context(), "57"); err != nil || tries.Load() != 2 {
		t.Errorf("%v after %d tries: it was removed by the first", err, tries.Load())
	}
	want(t, c.RemoveJob(t.Context(), "57"), api.CodeNotFound, "no job")
}

// That a node changed nothing says nothing of an earlier try that had no answer.
func TestNoLeaderAfterALostAnswer(t *testing.T) {
	for name, lose := range map[string]func(w http.ResponseWriter){
		"no answer": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"unknown":   func(w http.ResponseWriter) { refuse(w, api.Errorf(api.CodeUnknown, "lost the lead")) },
	} {
		var tries atomic.Int32
		c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
			if tries.Add(1) == 1 {
				lose(w)
				return
			}
			refuse(w, api.Errorf(api.CodeUnavailable, "no leader; nothing was changed"))
		})}, Patience: 2 * time.Second})
		_, err := c.Submit(t.Context(), &api.JobSpec{Name: "web"})
		if tries.Load() < 2 {
			t.Fatalf("%s: %d tries", name, tries.Load())
		}
		want(t, err, api.CodeUnknown, "may have been done")
	}
}

func TestRefusalAfterALostAnswer(t *testing.T) {
	var tries atomic.Int32
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) == 1 {
			panic(http.ErrAbortHandler) // it is done, and the answer is lost
		}
		refuse(w, api.Errorf(api.CodeConflict, "there is one already"))
	})}})
	_, err := c.Submit(t.Context(), &api.JobSpec{Name: "web"})
	want(t, err, api.CodeUnknown, "there is one already")
	_, err = c.Submit(t.Context(), &api.JobSpec{Name: "web"})
	want(t, err, api.CodeConflict, "there is one already")
}

func TestAnswersThatAreNotOurs(t *testing.T) {
	for status, code := range map[int]api.Code{401: api.CodeNotAllowed, 404: api.CodeNotFound, 502: api.CodeUnavailable, 418: api.CodeFailed} {
		c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "<html>proxy</html>", status)
		})}, Patience: -1})
		_, err := c.Nodes(t.Context(), false)
		want(t, err, code, "is it a mesita node?")
	}
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"items": [{"id": "57"`)
	})}, Patience: -1})
	_, err := c.Jobs(t.Context(), true)
	want(t, err, api.CodeUnavailable, "broke off")
}

func TestConfigIsChecked(t *testing.T) {
	for addr, text := range map[string]string{
		"http://10.0.0.1:80":    "in clear",
		"https://10.0.0.1":      "MESITA_CA",
		"10.0.0.1:5050":         "MESITA_CA",
		"ftp://10.0.0.1":        "is not an address",
		"https://":              "is not an address",
		"http://127.0.0.1:\x00": "is not an address",
	} {
		_, err := New(Config{Addrs: []string{addr}})
		want(t, err, api.CodeInvalid, text)
	}
	_, err := New(Config{Addrs: []string{"10.0.0.1"}, CA: []byte("no PEM")})
	want(t, err, api.CodeInvalid, "no PEM certificate")
	for addr, base := range map[string]string{"10.0.0.1": "https://10.0.0.1:5050", "https://[::1]:7/x": "https://[::1]:7", "http://localhost:8080": "http://localhost:8080"} {
		if got, err := baseURL(addr); got != base || err != nil {
			t.Errorf("%s is %s (%v), want %s", addr, got, err, base)
		}
	}
}

func TestWrongCAIsToldAtOnce(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	// The CA is right and the name is not that of a node. Who waits waits for ever.
	_, err := newClient(t, Config{Addrs: []string{s.URL}, CA: ca, Patience: time.Hour}).Health(t.Context())
	want(t, err, api.CodeNotAllowed, "mesita login")
}

func TestWaitJobInSteps(t *testing.T) {
	waits := 0
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		waits++
		if d, err := time.ParseDuration(r.URL.Query().Get("timeout")); err != nil || d > waitStep {
			t.Errorf("asked to wait %s: longer than the time for an answer", r.URL.Query().Get("timeout"))
		}
		if waits < 3 {
			refuse(w, api.Errorf(api.CodeTimeout, "it continues"))
			return
		}
		answer(w, 200, api.Job{ID: "57", State: api.JobFinished})
	})}})
	if j, err := c.WaitJob(t.Context(), "57", "ended", time.Hour); err != nil || j.State != api.JobFinished {
		t.Fatal(j, err)
	}
	waits = -1000
	_, err := c.WaitJob(t.Context(), "57", "ended", time.Millisecond)
	want(t, err, api.CodeTimeout, "it continues")
}

func TestUploadOnlyWhatIsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(path, []byte(strings.Repeat("program ", 10000)), 0o700); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	blobs, puts := map[string]string{}, 0
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		digest := strings.TrimPrefix(r.URL.Path, "/v1/blobs/")
		if r.Method == http.MethodHead {
			if _, ok := blobs[digest]; !ok {
				w.WriteHeader(404)
			}
			return
		}
		if puts++; puts == 1 {
			refuse(w, api.Errorf(api.CodeUnavailable, "no leader")) // the body is not read to its end
			return
		}
		b, err := io.ReadAll(r.Body)
		if err != nil || r.ContentLength != int64(len(b)) || r.URL.Query().Get("name") != "server" {
			t.Errorf("body of %d bytes, length %d, query %s, %v", len(b), r.ContentLength, r.URL.RawQuery, err)
		}
		blobs[digest] = string(b)
		answer(w, 200, api.Blob{Digest: digest})
	})}})
	digest, uploaded, err := c.UploadProgram(t.Context(), path)
	if err != nil || !uploaded || !api.ValidDigest(digest) || blobs[digest] != strings.Repeat("program ", 10000) {
		t.Fatalf("%s %t %v", digest, uploaded, err)
	}
	again, uploaded, err := c.UploadProgram(t.Context(), path)
	if err != nil || uploaded || again != digest || puts != 2 {
		t.Fatalf("%s %t %v after %d uploads, want none more", again, uploaded, err, puts)
	}
	if err := os.Truncate(path, api.MaxBlob+1); err != nil {
		t.Fatal(err)
	}
	_, _, err = c.UploadProgram(t.Context(), path)
	want(t, err, api.CodeTooLarge, "512MiB")
}

func TestNounsUseTheContract(t *testing.T) {
	var got string
	c := newClient(t, Config{Token: "msc1-a.b", Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.URL.RequestURI() + " " + string(b)
		if r.Header.Get("Authorization") != "Bearer msc1-a.b" {
			t.Errorf("%s: no token", got)
		}
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, `{"items":[],"index":7}`)
			return
		}
		_, _ = io.WriteString(w, `{}`)
	})}})
	ctx := t.Context()
	first := func(_ any, err error) error { return err }
	for _, x := range []struct {
		want string
		call func() error
	}{
		{"GET /v1/cluster ", func() error { return first(c.Cluster(ctx)) }},
		{"PUT /v1/jobs/web {", func() error { return first(c.Apply(ctx, &api.JobSpec{Name: "web"})) }},
		{"PUT /v1/jobs/web?dry_run=1 {", func() error { return first(c.Plan(ctx, &api.JobSpec{Name: "web"})) }},
		{"POST /v1/jobs?dry_run=1 {", func() error { return first(c.Plan(ctx, &api.JobSpec{})) }},
		{"GET /v1/jobs ", func() error { return first(c.Jobs(ctx, false)) }},
		{"GET /v1/jobs?all=1 ", func() error { return first(c.Jobs(ctx, true)) }},
		{`POST /v1/jobs/web/scale {"count":0}`, func() error { return first(c.Scale(ctx, "web", 0)) }},
		{"POST /v1/jobs/web/stop {}", func() error { return first(c.StopJob(ctx, "web")) }},
		{"POST /v1/jobs/57/hold {}", func() error { return first(c.HoldJob(ctx, "57", false)) }},
		{"POST /v1/jobs/57/release {}", func() error { return first(c.ReleaseJob(ctx, "57", false)) }},
		{"POST /v1/jobs/57/requeue?dry_run=1 {}", func() error { return first(c.RequeueJob(ctx, "57", true)) }},
		{`POST /v1/jobs/57/set {"time":"9m0s","cpus":0.5}`, func() error {
			return first(c.SetJob(ctx, "57", api.JobChange{Time: new(api.Duration(9 * time.Minute)), CPUs: new(api.MilliCPU(500))}))
		}},
		{`POST /v1/jobs/57/set?dry_run=1 {"priority":3}`, func() error { return first(c.PlanSetJob(ctx, "57", api.JobChange{Priority: new(3)})) }},
		{"DELETE /v1/jobs/a%2Fb ", func() error { return c.RemoveJob(ctx, "a/b") }},
		{"GET /v1/tasks?all=1&job=web&node=oak ", func() error { return first(c.Tasks(ctx, "web", "oak", true)) }},
		{"GET /v1/tasks/web.1 ", func() error { return first(c.Task(ctx, "web.1")) }},
		{`POST /v1/tasks/web.1/stop {"move":true}`, func() error { return c.StopTask(ctx, "web.1", true) }},
		{"GET /v1/tasks/web.1/why ", func() error { return first(c.Why(ctx, "web.1")) }},
		{"GET /v1/nodes ", func() error { return first(c.Nodes(ctx, false)) }},
		{"GET /v1/nodes/fir ", func() error { return first(c.Node(ctx, "fir")) }},
		{`POST /v1/nodes/fir/drain {"deadline":"10m0s"}`, func() error { return c.Drain(ctx, "fir", 10*time.Minute) }},
		{"POST /v1/nodes/fir/drain {}", func() error { return c.Drain(ctx, "fir", 0) }},
		{`POST /v1/cluster {"noLocalAdmin":false}`, func() error { return c.SetCluster(ctx, api.ClusterChange{NoLocalAdmin: new(false)}) }},
		{"POST /v1/ca {}", func() error { _, err := c.RotateCA(ctx); return err }},
		{"POST /v1/nodes/fir/promote {}", func() error { return c.Promote(ctx, "fir") }},
		{`POST /v1/nodes/fir/unreserve {"partition":"ml"}`, func() error { _, err := c.Unreserve(ctx, "fir", "ml"); return err }},
		{"POST /v1/nodes/fir/demote {}", func() error { return c.Demote(ctx, "fir") }},
		{"POST /v1/nodes/fir/resume {}", func() error { return c.Resume(ctx, "fir") }},
		{"DELETE /v1/nodes/fir?force=1 ", func() error { return c.RemoveNode(ctx, "fir", true) }},
		{"DELETE /v1/nodes/fir?dry_run=1&force=1 ", func() error { return c.MayRemoveNode(ctx, "fir", true) }},
		{"GET /v1/doctor?node=oak ", func() error { _, _, err := c.Examine(ctx, "oak"); return err }},
		{"GET /v1/stats ", func() error { _, _, err := c.Stats(ctx, "", api.StatsAll); return err }},
		{"GET /v1/stats?node=oak ", func() error { _, _, err := c.Stats(ctx, "oak", api.StatsCPU); return err }},
		{"GET /v1/tokens?kind=client ", func() error { return first(c.Tokens(ctx, api.TokenClient)) }},
		{`POST /v1/tokens {"kind":"join"`, func() error { return first(c.CreateToken(ctx, api.TokenRequest{})) }},
		{`POST /v1/tokens/ci/rights {"grant":["viewer"]}`, func() error { return first(c.ChangeRights(ctx, "ci", api.RightsChange{Grant: []string{"viewer"}})) }},
		{"GET /v1/can?action=deploy&on=prod%2Fweb&who=ci ", func() error { return first(c.Can(ctx, "ci", "deploy", "prod/web")) }},
		{"DELETE /v1/tokens/t1 ", func() error { return c.RevokeToken(ctx, "t1") }},
		{"GET /v1/events?fields=index%2Ctime%2Ckind%2Cobject%2Cjob%2Cnode%2Cactor%2Cmessage%2Ctask&for=web&limit=5 ", func() error { return first(c.RecentEvents(ctx, "web", 5)) }},
	} {
		if err := x.call(); err != nil || !strings.HasPrefix(got, x.want) {
			t.Errorf("sent %q (%v), want %q", got, err, x.want)
		}
	}
}

func TestWhyOfJobOrTask(t *testing.T) {
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/jobs/web/why" {
			answer(w, 200, api.Why{ID: "web", Summary: "runs"})
			return
		}
		refuse(w, api.Errorf(api.CodeNotFound, "nothing"))
	})}})
	if w, err := c.Why(t.Context(), "web"); err != nil || w.Summary != "runs" {
		t.Error(w, err)
	}
	_, err := c.Why(t.Context(), "none")
	want(t, err, api.CodeNotFound, "nothing")
}
