package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
)

// byOthers is named where others had so much of the machine that it is none that does
// nothing else, which is what is promised of.
const (
	byOthers  = "what else runs here, which had its CPUs"
	otherPart = 4  // a quarter of what the machine has
	cpuEach   = 10 // looks
	lately    = time.Second
)

// process is what proc_pid_stat(5) says of one.
type process struct {
	pid, parent, session int
	cpu                  time.Duration
}

func parseStat(b []byte) (p process, ok bool) {
	open, end := bytes.IndexByte(b, ' '), bytes.LastIndexByte(b, ')') // the name may have both
	if open < 0 || end < 0 {
		return p, false
	}
	f := bytes.Fields(b[end+1:])
	if len(f) < 13 {
		return p, false
	}
	var n [5]int
	for i, s := range [][]byte{b[:open], f[1], f[3], f[11], f[12]} {
		v, err := strconv.Atoi(string(s))
		if err != nil {
			return p, false
		}
		n[i] = v
	}
	return process{pid: n[0], parent: n[1], session: n[2], cpu: time.Duration(n[3]+n[4]) * tick}, true
}

// known tells how long the processes of a session have run, by their id, and the
// kernel's own, which are nobody's: they move what is sent here, too.
func known(session int) map[int]time.Duration {
	const kernel = 2 // the parent of its threads
	out := map[int]time.Duration{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		if p, ok := parseStat(b); ok && (p.session == session || p.pid == kernel || p.parent == kernel) {
			out[p.pid] = p.cpu
		}
	}
	return out
}

// ran is how long the CPUs have run processes, of whomever: those that begin and end
// between two looks, as of a compiler, too.
func ran() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	return ranIn(b)
}

func ranIn(stat []byte) (sum time.Duration) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	for i, s := range bytes.Fields(line) {
		if i < 1 || i > 3 { // user, nice, system
			continue
		}
		v, err := strconv.ParseInt(string(s), 10, 64)
		if err != nil {
			return 0
		}
		sum += time.Duration(v) * tick
	}
	return sum
}

// grown is by how much processes ran more than before. One that is new has run since it
// began, which was in between.
func grown(before, after map[int]time.Duration) (sum time.Duration) {
	for pid, cpu := range after {
		sum += max(0, cpu-before[pid])
	}
	return sum
}

// busyness is what others had of the CPUs lately: what they leave behind is waited for
// once they have ended.
type busyness struct {
	from []time.Time
	had  []time.Duration
}

// busy is the lateness that comes of others having had so much of the CPUs in that
// time, and in the second before it; not ok: it was too little.
func (b *busyness) busy(from, to time.Time, had time.Duration) (l lateness, ok bool) {
	b.from, b.had = append(b.from, from), append(b.had, had)
	for len(b.from) > 1 && to.Sub(b.from[0]) > lately {
		b.from, b.had = b.from[1:], b.had[1:]
	}
	sum := time.Duration(0)
	for _, had := range b.had {
		sum += had
	}
	l = lateness{by: byOthers, from: from, to: to, late: to.Sub(from)}
	return l, sum >= to.Sub(b.from[0])*time.Duration(runtime.NumCPU())/otherPart
}
