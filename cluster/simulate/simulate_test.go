package simulate

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/simulate/trace"
)

func readTrace(t testing.TB, text string) *trace.Trace {
	t.Helper()
	tr, err := trace.Read("trace.csv", strings.NewReader(text), trace.Mapping{})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func readCluster(t testing.TB, text string) *Cluster {
	t.Helper()
	c := new(Cluster)
	if err := api.DecodeStrict(strings.NewReader(text), c); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

func simulate(t testing.TB, cluster, tr string) *Result {
	t.Helper()
	res, err := Run(context.Background(), readCluster(t, cluster), readTrace(t, tr))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

const oneNode = `{"nodes": [{"name": "n", "resources": "cpus=2,mem=4GiB"}]}`

func TestX(t *testing.T) {
	res := simulate(t, oneNode, "submit,tasks,cpus,runtime\n0,3,1,10\n5,1,2,10\n")
	res.Report.WriteText(os.Stdout)
}
