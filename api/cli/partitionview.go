package cli

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
)

var partitionColumns = []column[*api.PartitionStatus]{
	{"PARTITION", func(p *api.PartitionStatus) string { return p.Path }, false},
	{"POLICY", func(p *api.PartitionStatus) string { return string(p.Policy) }, false},
	{"WEIGHT", func(p *api.PartitionStatus) string { return p.Weight.String() }, false},
	{"GUARANTEE", func(p *api.PartitionStatus) string { return brief(p.Guaranteed(), 3) }, false},
	{"LIMIT", limitText, false},
	{"USED", usedText, false},
	{"LENT/BORROWED", lentText, false},
	{"SHARE (fair)", shareText, false},
	{"RUN", runningText, false},
	{"PEND", func(p *api.PartitionStatus) string { return fmt.Sprint(p.Pending) }, false},
	{"OLDEST", func(p *api.PartitionStatus) string { return age(p.Oldest) }, false},
	{"FROZEN", func(p *api.PartitionStatus) string { return fmt.Sprint(p.Frozen) }, true},
	{"PRIORITY", func(p *api.PartitionStatus) string { return fmt.Sprint(p.Priority) }, true},
	{"PLACEMENT", func(p *api.PartitionStatus) string { return string(p.Placement) }, true},
	{"PREEMPT", func(p *api.PartitionStatus) string { return string(p.Preempt) }, true},
	{"NODES", func(p *api.PartitionStatus) string { return joined(p.Nodes) }, true},
	{"CAPACITY", func(p *api.PartitionStatus) string { return brief(api.AmountsOf(p.Capacity), 1) }, true},
	{"IDLE", idleText, true},
	{"LATE", lateText, true},
	{"OFF", offText, true},
	{"STATE", func(p *api.PartitionStatus) string { return partitionState(p) }, true},
}

// telling leaves out the columns of -o wide in which no partition has anything to tell.
func telling(all []*api.PartitionStatus) []column[*api.PartitionStatus] {
	return slices.DeleteFunc(slices.Clone(partitionColumns), func(col column[*api.PartitionStatus]) bool {
		return col.wide && len(all) > 0 && !slices.ContainsFunc(all, func(p *api.PartitionStatus) bool {
			switch col.get(p) {
			case "", "-", "0", "0 of 0", "0% (0%)", "open":
				return false
			}
			return true
		})
	})
}

func partitionState(p *api.PartitionStatus) string {
	if p.Drain {
		return "is being removed"
	}
	return "open"
}

// brief writes amounts for a table: 4c/8G. Cores get up to that many decimals.
func brief(a api.Amounts, decimals int) string {
	var out []string
	for k, v := range a.Each {
		switch k {
		case "cpus":
			out = append(out, briefCores(api.MilliCPU(v), decimals)+"c")
		case "mem":
			out = append(out, briefBytes(api.Bytes(v)))
		case "gpus":
			out = append(out, fmt.Sprintf("%dgpu", v))
		default:
			out = append(out, k+"="+strings.TrimSuffix(api.FormatAmount(k, v), "iB"))
		}
	}
	return strings.Join(out, "/")
}

// briefCores keeps all decimals of less than a core.
func briefCores(c api.MilliCPU, decimals int) string {
	if c < 1000 {
		decimals = 3
	}
	s := strconv.FormatFloat(c.Cores(), 'f', decimals, 64)
	if decimals < 3 {
		return s
	}
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}

func briefBytes(b api.Bytes) string {
	if b >= 10<<30 && b < 1<<40 {
		return strconv.FormatFloat(float64(b)/(1<<30), 'f', 0, 64) + "G"
	}
	return strings.TrimSuffix(b.String(), "iB")
}

func limitText(p *api.PartitionStatus) string {
	if p.LimitHard {
		return brief(p.Limit, 3) + " hard"
	}
	return brief(p.Limit, 3)
}

func usedText(p *api.PartitionStatus) string {
	return brief(api.AmountsOf(p.Charged()), 1)
}

func lentText(p *api.PartitionStatus) string {
	var out []string
	if !p.Lent.IsZero() {
		out = append(out, "lent "+brief(p.Lent, 3))
	}
	if !p.Borrowed.IsZero() {
		out = append(out, "borrowed "+brief(p.Borrowed, 3))
	}
	if offered := api.AmountsOf(p.Offered); !offered.IsZero() {
		out = append(out, "on offer "+brief(offered, 3))
	}
	return strings.Join(out, ", ")
}

// runningText has what stopped in place beside what runs: it holds memory, and comes
// to no end; and how many of those that run have to leave soon.
func runningText(p *api.PartitionStatus) string {
	var of []string
	if p.Frozen > 0 {
		of = append(of, fmt.Sprintf("%d frozen", p.Frozen))
	}
	if p.Leaving > 0 {
		of = append(of, fmt.Sprintf("%d leaving", p.Leaving))
	}
	if len(of) == 0 {
		return fmt.Sprint(p.Running)
	}
	return fmt.Sprintf("%d (%s)", p.Running-p.Frozen, strings.Join(of, ", "))
}

// shareText leaves the fair share out where nothing waits for it.
func shareText(p *api.PartitionStatus) string {
	fair := "-"
	if p.Pending+p.Frozen > 0 {
		fair = percent(p.Fair)
	}
	return percent(p.Share) + " (" + fair + ")"
}

// idleText is what is free and kept for a partition's first in line: now, and in the
// mean.
func idleText(p *api.PartitionStatus) string {
	if p.Sharing == nil {
		return "-"
	}
	return percent(p.Sharing.Idle) + " (" + percent(p.Sharing.IdleMean) + ")"
}

func lateText(p *api.PartitionStatus) string {
	if p.Sharing == nil {
		return "-"
	}
	return fmt.Sprintf("%d of %d", p.Sharing.Late, p.Sharing.Promised)
}

// offText is by how much a share was off what it was to be, while something waited.
func offText(p *api.PartitionStatus) string {
	if p.Sharing == nil || p.Sharing.Waited == 0 {
		return "-"
	}
	return fmt.Sprintf("%+.1f%%", 100*p.Sharing.Error)
}

// showSharing writes how the sharing came out.
func showSharing(w io.Writer, s *api.Sharing) {
	if s == nil {
		return
	}
	if s.Idle > 0 || s.IdleMean > 0 {
		fmt.Fprintf(w, "kept free   %s of the cluster now, for the first in line; %s on average over %s\n", percent(s.Idle), percent(s.IdleMean), age(s.Since))
	}
	if s.Waited > 0 {
		side := "above"
		if s.Error < 0 {
			side = "below"
		}
		fmt.Fprintf(w, "off         %.1f%% %s its fair share, in the mean of the %s it waited\n", 100*math.Abs(s.Error), side, s.Waited)
	}
	if s.Late > 0 {
		fmt.Fprintf(w, "promises    %d of a start, %d broken, by %s at most\n", s.Promised, s.Late, s.LatestLate)
	} else if s.Promised > 0 {
		fmt.Fprintf(w, "promises    %d of a start, none broken\n", s.Promised)
	}
}

func percent(f float64) string { return strconv.FormatFloat(100*f, 'f', 0, 64) + "%" }

func joined[T fmt.Stringer](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return strings.Join(out, ", ")
}

func showPartition(w io.Writer, p *api.PartitionStatus) error {
	fmt.Fprintf(w, "partition   %s   %s\n", p.Path, partitionState(p))
	for _, s := range option.Settings(p.Partition) {
		fmt.Fprintf(w, "%-11s %s\n", s[0], s[1])
	}
	if p.Current != nil {
		fmt.Fprintf(w, "now         guarantee %s\n", p.Current)
	}
	fmt.Fprintf(w, "pool        %s\n", or(p.Capacity.String(), "no node matches"))
	fmt.Fprintf(w, "used        %s   %s\n", or(api.AmountsOf(p.Charged()).String(), "-"), lentText(p))
	fmt.Fprintf(w, "share       %s   fair %s\n", percent(p.Share), percent(p.Fair))
	fmt.Fprintf(w, "tasks       %d running, %d frozen, %d starting, %d pending", p.Running-p.Frozen, p.Frozen, p.Starting, p.Pending)
	if p.Leaving > 0 {
		fmt.Fprintf(w, ", %d leaving", p.Leaving)
	}
	if !p.Oldest.IsZero() {
		fmt.Fprintf(w, " (the oldest for %s)", age(p.Oldest))
	}
	fmt.Fprintln(w)
	showSharing(w, p.Sharing)
	for _, x := range p.Warnings {
		fmt.Fprintf(w, "! %s\n", x)
	}
	return nil
}
