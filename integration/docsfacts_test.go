package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/docs"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/cluster"
	"github.com/mesita/mesita/cluster/allocator/offer"
	"github.com/mesita/mesita/cluster/audit"
	"github.com/mesita/mesita/cluster/controller"
	"github.com/mesita/mesita/cluster/history"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/executor"
)

// hours is a time as the page of limits writes it.
func hours(d time.Duration) string {
	return strings.NewReplacer("m0s", "m", "h0m0s", "h").Replace(d.String())
}

// bounds are those of the program, by the first cell of their row in the page.
func bounds() map[string][]string {
	n := strconv.Itoa
	return map[string][]string{
		"jobs that ended":                                        {hours(controller.DefaultKeepEnded), n(controller.DefaultKeepJobs) + " jobs", ""},
		"logs of tasks that ended, on their node":                {hours(executor.DefaultLogKeep), api.Bytes(executor.DefaultLogTotal).String(), "`log-keep` `log-total`"},
		"working folders of tasks that ended":                    {hours(executor.DefaultDirKeep), "", "`folder-keep`"},
		"events, on each voter":                                  {hours(history.DefaultAge), api.Bytes(history.DefaultBytes).String(), "`event-keep` `event-total`"},
		"incidents":                                              {hours(api.IncidentsKept), n(api.MaxIncidents) + " incidents", ""},
		"audit, on each node":                                    {hours(audit.DefaultAge), api.Bytes(audit.DefaultBytes).String(), "`audit-keep` `audit-total`"},
		"versions of a job":                                      {"", n(api.MaxHistory) + " versions", ""},
		"attempts of a task":                                     {"", n(api.MaxAttempts) + " attempts", ""},
		"programs that were uploaded, on a node":                 {"", api.Bytes(executor.DefaultBlobCache).String(), "`program-cache`"},
		"programs and files that were uploaded and no job needs": {hours(controller.KeepUploads), "", ""},
		"tasks of a service":                                     {n(api.MaxCount)},
		"tasks of an array":                                      {n(api.MaxArray)},
		"tasks of a gang":                                        {n(api.MaxGang)},
		"partitions":                                             {n(api.MaxPartitions)},
		"characters of a name":                                   {n(api.MaxName)},
		"a program that is uploaded":                             {api.Bytes(api.MaxBlob).String()},
		"files of a task":                                        {n(api.MaxFiles)},
		"files of a task, together":                              {api.MaxFilesSize.String()},
		"a request to the API, a file for `apply`":               {api.Bytes(exchange.MaxBody).String()},
		"rights of a token":                                      {n(api.MaxRights)},
		"rows of a list":                                         {n(api.MaxRows)},
		"rows of a sorted list":                                  {n(api.MaxSorted)},
		"records of one look at the audit":                       {n(api.MaxAudit)},
		"frameworks that have not ended":                         {n(api.MaxFrameworks)},
		"frameworks that ended, and are remembered":              {n(api.MaxEndedFrameworks)},
		"a call to the APIs of Mesos":                            {api.Bytes(call.MaxBody).String()},
		"what a framework says of itself (`FrameworkInfo`)":      {api.Bytes(api.MaxFrameworkInfo).String()},
		"what an executor says of a task (`TaskStatus`)":         {api.Bytes(api.MaxExecutorUpdate).String()},
		"characters of an id that a framework chose":             {n(api.MaxFrameworkTaskID)},
		"tasks that ended, of a framework in one partition, and are remembered": {n(api.MaxFrameworkEnded)},
		"likewise, while the framework has acknowledged none":                   {n(api.MaxFrameworkUnknown)},
		"reservations and volumes of a node":                                    {n(api.MaxNodeReservations)},
		"reservations of a partition":                                           {n(api.MaxPartitionReservations)},
		"reservations of the cluster":                                           {n(api.MaxReservations)},
		"changes of reservations in a call":                                     {n(api.MaxConversions)},
		"bytes of the principal and the labels of a reservation":                {api.Bytes(api.MaxReservationWords).String()},
		"changes of a task that wait to be acknowledged":                        {n(api.MaxFrameworkUpdates)},
		"tasks of an executor":                                                  {n(api.MaxExecutorTasks)},
		"how long an offer waits for its framework":                             {hours(offer.DefaultTimeout)},
		"streams of a node: logs, events, commands (setting `max-streams`)":     {n(server.DefaultStreams)},
		"processes of a task, if it does not say `--pids`":                      {fmt.Sprint(api.DefaultPids)},
		"a join token, if it does not say `--ttl`":                              {hours(auth.JoinTTL)},
		"a client token, at most":                                               {hours(auth.ClientTTL)},
		"a certificate of a node, renewed at half of that":                      {hours(tlsconf.DefaultLife)},
		"`--cpus`":              {api.DefaultCPUs.String()},
		"`--mem`":               {api.DefaultMem.String()},
		"`--stop-grace`":        {hours(time.Duration(api.DefaultStopGrace))},
		"`--restart-delay`":     {hours(time.Duration(api.DefaultDelay))},
		"`--restart-max-delay`": {hours(time.Duration(api.DefaultMaxDelay))},
	}
}

// The page of limits says what the program does: each row, and no row is missing.
func TestLimitsAreThoseOfTheProgram(t *testing.T) {
	p, err := docs.Find("limits")
	if err != nil {
		t.Fatal(err)
	}
	want := bounds()
	for _, row := range rowsOf(p.Text) {
		cells, known := want[row[0]]
		if delete(want, row[0]); !known {
			t.Errorf("the row %q is not compared with the program", row[0])
		} else if got := strings.Join(row[1:], " | "); got != strings.Join(cells, " | ") {
			t.Errorf("%s: the page says %q, and the program %q", row[0], got, strings.Join(cells, " | "))
		}
	}
	for row := range want {
		t.Errorf("the page has no row %q", row)
	}
	for _, l := range cluster.Limits() {
		if !strings.Contains(p.Text, "`"+l.Name+"`") {
			t.Errorf("the page does not name the setting %s", l.Name)
		}
	}
	if logMax := api.DefaultLogMax.String(); !strings.Contains(p.Text, "`--log-max` bounds the log of a task ("+logMax+")") {
		t.Errorf("the page does not say that a log has %s", logMax)
	}
}

// rowsOf are the rows of all tables of a page, without their heads.
func rowsOf(text string) (rows [][]string) {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "| ") && i > 0 && strings.HasPrefix(lines[i-1], "|") {
			var cells []string
			for c := range strings.SplitSeq(strings.Trim(l, "|"), "|") {
				cells = append(cells, strings.TrimSpace(c))
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

// Messages that the page of troubles explains are messages of the program, and all kinds
// of incidents are there.
func TestTroublesAreThoseOfTheProgram(t *testing.T) {
	p, err := docs.Find("troubleshooting")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, s := range sources(t, false) {
		b, err := os.ReadFile(s.path)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	text, quoted := all.String(), regexp.MustCompile("`([^`]+)`")
	checked := 0
	for _, row := range rowsOf(p.Text) {
		for _, m := range quoted.FindAllStringSubmatch(row[0], -1) {
			checked++
			if !strings.Contains(text, m[1]) {
				t.Errorf("no message says %q", m[1])
			}
		}
	}
	if checked < 30 {
		t.Errorf("only %d messages were found", checked)
	}
	for _, m := range regexp.MustCompile(`IncidentKind = "([a-z-]+)"`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(p.Text, "`"+m[1]+"`") {
			t.Errorf("the page does not explain incidents of the kind %s", m[1])
		}
	}
}

// From three servers with nothing on them to a replicated service it takes five commands
// and no file; TestDocuments runs them.
func TestFiveCommandsToAService(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range docs.Blocks(string(b)) {
		if block.Info == "console" {
			if steps := typedIn(t, "README", block.Lines); len(steps) != 5 || !strings.Contains(strings.Join(steps[3].shown, "\n"), "3/3 running") {
				t.Errorf("it takes %d commands, and the fourth shows %q", len(steps), steps[3].shown)
			}
			return
		}
	}
	t.Error("the README has no such commands")
}
