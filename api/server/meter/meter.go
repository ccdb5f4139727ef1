// Package meter counts what a node does as it happens, and writes that and what it is
// told at a scrape in the format of Prometheus. It owns the names, units and buckets of
// what it counts, and how much of it there may be. What the state of the cluster holds is
// up to api/server, which calls it; cluster wires those that count.
package meter

import (
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
)

// MaxJobs is of how many jobs there are series of their own. Those beyond, in the order
// of their names, are counted together, as the job "".
const MaxJobs = 1000

// Meter counts. Its methods may be called by several at once, and on nil.
type Meter struct {
	registry *prometheus.Registry
	answers  *prometheus.CounterVec
	took     *prometheus.HistogramVec
	passes   prometheus.Histogram
	waits    prometheus.Histogram
	commits  prometheus.Histogram

	jobs *jobs
}

// New makes one for a version of mesita, of a daemon that started so long after its node
// booted.
func New(version string, begun time.Duration) *Meter {
	histogram := func(name, help string, buckets ...float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "mesita_build_info", Help: "1, with the version of mesita.",
		ConstLabels: prometheus.Labels{"version": version}})
	build.Set(1)
	m := &Meter{registry: prometheus.NewRegistry(), jobs: newJobs(begun),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mesita_http_requests_total",
			Help: "Answered requests by route and class of status."}, []string{"method", "path", "code"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "mesita_http_request_duration_seconds",
			Help:    "How long requests took, of routes without streams, uploads, downloads and wait=.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10}}, []string{"method", "path"}),
		passes: histogram("mesita_scheduler_pass_duration_seconds", "How long a pass of the scheduler took, on the node that led.",
			.0001, .0005, .0025, .01, .05, .25, 1, 5),
		waits: histogram("mesita_scheduler_wait_seconds", "How long tasks had waited when they were placed, by the node that led.",
			.01, .1, 1, 10, 60, 600, 3600, 21600, 86400),
		commits: histogram("mesita_raft_commit_duration_seconds", "How long log entries took from the leader's write until they had taken effect there.",
			.0005, .001, .0025, .005, .01, .025, .1, .5, 2.5),
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		build, m.answers, m.took, m.passes, m.waits, m.commits)
	return m
}

// classes are those of the statuses of answers.
var classes = [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}

// Route begins the series of a route at 0. What lasts has no time.
func (m *Meter) Route(method, path string, lasts bool) {
	for _, class := range classes[1:] {
		m.answers.WithLabelValues(method, path, class)
	}
	if !lasts {
		m.took.WithLabelValues(method, path)
	}
}

// Answered counts a request; what lasts has no time.
func (m *Meter) Answered(method, path string, status int, lasted bool, took time.Duration) {
	if m == nil || status < 100 || status > 599 {
		return
	}
	m.answers.WithLabelValues(method, path, classes[status/100-1]).Inc()
	if !lasted {
		m.took.WithLabelValues(method, path).Observe(took.Seconds())
	}
}

// Passed counts a pass of the scheduler.
func (m *Meter) Passed(took time.Duration) {
	if m != nil {
		m.passes.Observe(took.Seconds())
	}
}

// Placed counts a task that found a node.
func (m *Meter) Placed(waited time.Duration) {
	if m != nil {
		m.waits.Observe(max(0, waited.Seconds()))
	}
}

// Committed counts a log entry that took effect.
func (m *Meter) Committed(took time.Duration) {
	if m != nil {
		m.commits.Observe(took.Seconds())
	}
}

// Write writes all series.
func (m *Meter) Write(w io.Writer, s *Scrape) error {
	once := prometheus.NewRegistry()
	if err := once.Register(s); err != nil {
		return err
	}
	families, err := prometheus.Gatherers{m.registry, once}.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}

// Scrape is what is told at one scrape.
type Scrape struct {
	metrics []prometheus.Metric
	descs   map[string]*prometheus.Desc
}

// Gauge tells a value, with names and values of labels.
func (s *Scrape) Gauge(name, help string, value float64, labels ...string) {
	s.add(prometheus.GaugeValue, name, help, value, labels)
}

// Counter tells a value that only grows.
func (s *Scrape) Counter(name, help string, value float64, labels ...string) {
	s.add(prometheus.CounterValue, name, help, value, labels)
}

func (s *Scrape) add(kind prometheus.ValueType, name, help string, value float64, labels []string) {
	var names, values []string
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	desc := s.descs[name]
	if desc == nil {
		if s.descs == nil {
			s.descs = map[string]*prometheus.Desc{}
		}
		desc = prometheus.NewDesc(name, help, names, nil)
		s.descs[name] = desc
	}
	s.metrics = append(s.metrics, prometheus.MustNewConstMetric(desc, kind, value, values...))
}

// Describe says nothing: what there is depends on the state.
func (s *Scrape) Describe(chan<- *prometheus.Desc) {}

// Collect is asked by a registry.
func (s *Scrape) Collect(out chan<- prometheus.Metric) {
	for _, m := range s.metrics {
		out <- m
	}
}

// Few keeps the series of jobs within MaxJobs, and to those that are Shown: it tells
// which a job is counted as.
type Few struct {
	Shown func(job string) bool
	known map[string]bool
}

// Of is the job, or "" if it is counted with others.
func (f *Few) Of(job string) string {
	if f.known == nil {
		f.known = map[string]bool{}
	}
	if f.known[job] || len(f.known) < MaxJobs && f.Shown(job) {
		f.known[job] = true
		return job
	}
	return ""
}
