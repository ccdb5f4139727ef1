package specfile

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// What export prints is read back as the same spec.
func TestSpecRoundTrip(t *testing.T) {
	s := &api.JobSpec{Name: "web", Kind: api.KindService, Partition: "ml/train", Count: new(3), TaskSpec: api.TaskSpec{
		Command: []string{"/bin/sh", "-c", "echo 'a: b'\n\t# no comment", "", "~", "0x10", "1e3", "null", "2026-05-01", "\u00e9\u2028"},
		Program: "sha256:" + strings.Repeat("0f", 32), Env: map[string]string{"A": "yes", "B": "", "C": "line\nline", "D": "12:30:45"},
		Dir: "/srv", User: "www:adm", Ulimits: []api.Ulimit{{Name: "nofile", Soft: 1024, Hard: 4096}, {Name: "core", Soft: -1, Hard: -1}}, Nice: -3, CPULimit: 1500, Placing: api.Placing{Request: api.Request{CPUs: 1, Mem: 123456789, MemLimit: 1 << 31, Disk: 1 << 40, GPUs: 2, Ports: []api.PortRequest{{Name: "http"}, {Name: "x", Port: 80}},
			Custom: map[string]api.Quantity{"n": {Scalar: 1500}, "lane": {Ranges: api.Ranges{{First: 1, Last: 4}, {First: 9, Last: 9}}}, "zone": {Set: []string{"a", "on"}}}}, Constraints: []api.Constraint{{Attr: "zone", Op: "!=", Value: "b"}, {Attr: "n", Op: "=", Value: "1"}}}, StopSignal: "SIGINT", StopGrace: api.Duration(1500 * time.Millisecond),
		Restart: api.RestartPolicy{Attempts: 3, Delay: api.Duration(time.Second), MaxDelay: api.Duration(time.Hour)}, LogMax: 1 << 30, Pids: 7, Privileged: true, HostPIDs: true, Unconfined: []string{"ipc"}}}
	batch := &api.JobSpec{Name: "b", Kind: api.KindBatch, Array: "3-7", Retries: 2, TaskSpec: api.TaskSpec{Command: []string{"x"}, Time: api.Duration(36 * time.Hour)}}
	none := &api.JobSpec{Name: "none", Kind: api.KindService, Count: new(0), TaskSpec: api.TaskSpec{Command: []string{"x"}}}
	var out bytes.Buffer
	for _, x := range []*api.JobSpec{s, batch, none} {
		x.Normalize()
		fmt.Fprintln(&out, "---")
		if err := Print(&out, x); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Parse("x.yaml", out.Bytes())
	if err != nil || len(got.Jobs) != 3 || !reflect.DeepEqual(got.Jobs[0], s) || !reflect.DeepEqual(got.Jobs[1], batch) || !reflect.DeepEqual(got.Jobs[2], none) {
		t.Fatalf("got %+v (%v) from\n%s", got, err, out.String())
	}
}

func TestPartitionRoundTrip(t *testing.T) {
	p := &api.Partition{Path: "ml/train", Guarantee: api.Amounts{CPUs: 4500, Mem: 8 << 30, Custom: map[string]api.Weight{"licence": 2500}}, Limit: api.Amounts{CPUs: 10000, Mem: 1<<40 + 1}, LimitHard: true,
		Weight: 2500, Priority: -3, Nodes: []api.Constraint{{Attr: "zone", Op: "!=", Value: "b"}}, Policy: api.PolicyFair, Placement: api.PlacePack, Preempt: api.PreemptFreeze,
		Users: []string{"ci", "token:bob"}, Roles: []string{"operator"},
		Adjust: &api.Adjust{Min: api.Amounts{CPUs: 1000}, Max: api.Amounts{CPUs: 8000}, Hours: []api.Window{{Days: "mon-fri", From: "08:00", To: "18:00", Zone: "Europe/Berlin", Guarantee: api.Amounts{CPUs: 8000}}}}}
	p.Normalize()
	kept := *p
	kept.Created, kept.Drain, kept.Current = time.Now(), true, &api.Amounts{CPUs: 1}
	var out bytes.Buffer
	if err := Print(&out, &kept); err != nil {
		t.Fatal(err)
	}
	got, err := Parse("x.yaml", out.Bytes())
	if err != nil || len(got.Partitions) != 1 || !reflect.DeepEqual(got.Partitions[0], p) {
		t.Fatalf("got %+v (%v) from\n%s", got, err, out.String())
	}
	short := "kind: partition\npath: ml\nguarantee: cpus=4,mem=8GiB\nnodes: [zone=a]\nadjust:\n  max: {cpus: 8}\n  hours:\n    - mon-fri 08:00-18:00 cpus=8\n"
	if got, err = Parse("x.yaml", []byte(short)); err != nil || got.Partitions[0].Guarantee.Mem != 8<<30 || got.Partitions[0].Adjust.Hours[0].To != "18:00" {
		t.Fatalf("%+v %v", got, err)
	}
}

func TestRefusedPartitions(t *testing.T) {
	for body, says := range map[string]string{
		"path: ml\nguarante: {cpus: 1}":                       "x.yaml:3: guarante: is unknown: did you mean guarantee?",
		"path: ml\nguarantee: {cpu: 1}":                       "x.yaml:3: guarantee.cpu: is unknown: did you mean cpus?",
		"path: ml\nlimit: {cpus: .nan}":                       "x.yaml:3: limit.cpus",
		"path: ml\nlimit: {cpus: 1e300}":                      "x.yaml:3: limit.cpus",
		"path: ml\nlimit: {mem: lots}":                        "x.yaml:3: limit.mem",
		"path: ml\nlimit: {cpus: 1}\nguarantee:\n  cpus: 2\n": "x.yaml:5: guarantee: cpus=2 (of 1) is above the limit",
		"path: ml\nweight: -1":                                "x.yaml:3: weight: -1 is not above 0",
		"weight: 1":                                           "path: is missing",
		"path: ml\ndrain: true":                               "x.yaml:3: drain: is the cluster's own",
		"path: ml\nnodes: [zone]":                             "x.yaml:3: nodes[0]",
		"path: ml\npath: ml":                                  "already defined",
		"path: ml\n---\nkind: partition\npath: ml":            "partition \"ml\" is in the file twice",
		"path: ml\n---\nkind: partitoin\npath: ml":            "did you mean partition?",
	} {
		if _, err := Parse("x.yaml", []byte("kind: partition\n"+body)); api.ErrorCode(err) != api.CodeInvalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%s\n%v, want %s", body, err, says)
		}
	}
}

func FuzzSpecFile(f *testing.F) {
	f.Add([]byte("name: a\ncommand: [x]\nrestart: {delay: 1s}\n"))
	f.Add([]byte("kind: partition\npath: ml/x\nguarantee: cpus=4\nadjust: {max: {cpus: 4}, hours: [08:00-18:00 cpus=2]}\n"))
	f.Add([]byte("a: &a [*a]\n<<: {x: *a}\n? [1]\n: 2\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		docs, err := Parse("x.yaml", b)
		if (err == nil) != (docs != nil && len(docs.Jobs)+len(docs.Partitions) > 0) {
			t.Fatalf("%+v %v", docs, err)
		}
		if err != nil && api.ErrorCode(err) != api.CodeInvalid {
			t.Fatalf("%v is %s", err, api.ErrorCode(err))
		}
	})
}
