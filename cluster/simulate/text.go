package simulate

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mesita/mesita/api"
)

// notes says what a reader of the figures has to know.
func (r *recorder) notes(s *simulator, rep *Report) []string {
	var out []string
	if s.endless != "" {
		out = append(out, s.endless)
	}
	if r.refusals > 0 {
		out = append(out, fmt.Sprintf("%s refused, as a cluster would: %s", api.Count(r.refusals, "job"), strings.Join(r.refused, "; ")))
	}
	if rep.OverTime > 0 {
		out = append(out, fmt.Sprintf("%s ran into the time limit that their user had set, and ended there", api.Count(rep.OverTime, "task")))
	}
	if rep.Unfinished > 0 && s.cluster.Until > 0 && s.now >= time.Duration(s.cluster.Until) {
		out = append(out, fmt.Sprintf("%s had not ended when the simulation did, at %s", api.Count(rep.Unfinished, "task"), s.cluster.Until))
	} else if rep.Unfinished > 0 {
		out = append(out, fmt.Sprintf("%s never ended: %s", api.Count(rep.Unfinished, "task"), strings.Join(s.why(), "; ")))
	}
	return out
}

// WriteText writes the report for a reader.
func (rep *Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	line("cluster", "%s, %s, %s of memory", api.Count(rep.Nodes, "node"), api.AmountText("cpus", int64(rep.CPUs)), rep.Mem)
	line("work", "%s, %s: %d finished, %d over their time, %d stopped with their gang, %d not ended, %d never started", api.Count(rep.Jobs, "job"), api.Count(rep.Tasks, "task"), rep.Finished, rep.OverTime, rep.Stopped, rep.Unfinished, rep.Unstarted)
	line("makespan", "%s", length(rep.Makespan))
	line("utilisation", "%s of cpus, %s of memory", percent(rep.Utilisation.CPUs), percent(rep.Utilisation.Mem))
	line("wait", "%s", rep.Wait)
	line("slowdown", "%.2f in the mean, tasks below %s counted as that long", rep.Slowdown, slowdownBound)
	line("preempted", "%d killed, with %s core hours lost; %d frozen, for %s in all", rep.Preemptions.Killed, hours(rep.Preemptions.LostWork), rep.Preemptions.Frozen, length(rep.Preemptions.FrozenTime))
	line("failures", "%s lost with their node, with %s core hours", api.Count(rep.NodeLosses.Attempts, "attempt"), hours(rep.NodeLosses.LostWork))
	line("core hours", "%s submitted, %s done, %s lost, %s over time, %s of services, %s cut short", hours(rep.Work.Submitted), hours(rep.Work.Done),
		hours(rep.Work.Lost), hours(rep.Work.OverTime), hours(rep.Work.Services), hours(rep.Work.Open))
	line("fairness", "%.3f over partitions, %.3f over users (Jain's index: 1 is all alike)", rep.Fairness.Partitions, rep.Fairness.Users)
	line("kept", "%s of the cluster free for the first in line; %s", percent(rep.Kept.Idle), rep.Kept.promises())
	if err := t.Flush(); err != nil {
		return err
	}
	if err := rep.writeTables(w); err != nil {
		return err
	}
	for _, n := range rep.Notes {
		if _, err := fmt.Fprintf(w, "\nnote: %s\n", n); err != nil {
			return err
		}
	}
	return nil
}

func (k Kept) promises() string {
	made := api.Count(k.Promised, "promise") + " of a start, "
	if k.Late == 0 {
		return made + "none broken"
	}
	return made + fmt.Sprintf("%d broken, by %s at most", k.Late, length(k.Latest))
}

// textUsers is how many users a reader is shown.
const textUsers = 10

func (rep *Report) writeTables(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprint(t, "\nPARTITION\tWEIGHT\tJOBS\tTASKS\tSHARE\tBACKLOG\tGOT\tFAIR\tOFF\tIDLE\tLATE\tWAIT MEAN\tP50\tP90\tMAX\tSLOWDOWN\tPREEMPTED\n")
	for _, p := range rep.Partitions {
		got, fair, off := "-", "-", "-"
		if p.Backlog > 0 {
			got, fair, off = percent(p.Got), percent(p.Entitled), fmt.Sprintf("%+.1f%%", 100*p.Error)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%d/%d\t%s\t%s\t%s\t%s\t%.2f\t%d\n", p.Path, p.Weight, p.Jobs, p.Tasks, percent(p.Share), length(p.Backlog),
			got, fair, off, percent(p.Kept.Idle), p.Kept.Late, p.Kept.Promised, length(p.Wait.Mean), length(p.Wait.P50), length(p.Wait.P90), length(p.Wait.Max), p.Slowdown, p.Preempted+p.Frozen)
	}
	if len(rep.Users) > 1 {
		fmt.Fprint(t, "\nUSER\tTASKS\tSHARE\n")
		for _, u := range rep.Users[:min(len(rep.Users), textUsers)] {
			fmt.Fprintf(t, "%s\t%d\t%s\n", orDash(u.Name), u.Tasks, percent(u.Share))
		}
	}
	return t.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (d Distribution) String() string {
	return fmt.Sprintf("mean %s, median %s, p90 %s, p99 %s, longest %s", length(d.Mean), length(d.P50), length(d.P90), length(d.P99), length(d.Max))
}

func percent(v float64) string { return strconv.FormatFloat(v*100, 'f', 1, 64) + "%" }

func hours(work float64) string { return strconv.FormatFloat(work/3600, 'f', 2, 64) }

// length is a number of seconds, with as many digits as a reader needs.
func length(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d == 0:
		return "0s"
	case d >= 24*time.Hour:
		d = d.Round(time.Minute)
		days := d / (24 * time.Hour)
		return fmt.Sprintf("%dd%s", days, strings.TrimSuffix((d-days*24*time.Hour).String(), "0s"))
	case d >= time.Minute:
		d = d.Round(time.Second)
	default:
		d = d.Round(10 * time.Millisecond)
	}
	return api.Duration(d).String()
}
