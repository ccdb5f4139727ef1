package agent

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// Nothing but the token that an executor was given proves anything.
func FuzzTokens(f *testing.F) {
	d := New(Config{Key: []byte("of this node")})
	own := d.token(&api.Task{ID: "7.0", Attempt: 1, Framework: &api.FrameworkTask{Framework: "f", Executor: "e", IsExecutor: true}})
	f.Add(own)
	f.Add(own + "a")
	f.Add(strings.ToUpper(own))
	f.Add(tokenHeader + ".e30." + d.sign(tokenHeader+".e30"))
	f.Add(own[strings.IndexByte(own, '.'):])
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		r := httptest.NewRequest(http.MethodPost, "/api/v1/executor", http.NoBody)
		r.Header.Set("Authorization", "Bearer "+token)
		c, err := d.prove(r)
		switch said := strings.TrimSpace(token); {
		case said == own:
			if err != nil || *c != (claims{"f", "e", "7.0-1"}) {
				t.Errorf("the token proves %+v: %v", c, err)
			}
		case err == nil && !strings.HasSuffix(said, d.sign(said[:max(0, strings.LastIndexByte(said, '.'))])):
			t.Errorf("%q proves %+v", token, c)
		}
	})
}
