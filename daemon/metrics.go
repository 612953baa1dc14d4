package daemon

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tokend-project/tokend/daemon/api"
)

// metrics are what GET /metrics shows. The states are counted when somebody looks,
// from the views that readers see.
type metrics struct {
	registry *prometheus.Registry
	reloadOK prometheus.Gauge
	reloadAt prometheus.Gauge
	calls    *prometheus.CounterVec
}

// newMetrics makes the metrics; count returns the credentials by state, and how many
// the store does not hold the newest state of.
func newMetrics(count func() (map[api.State]int, int)) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokend_config_last_reload_successful",
			Help: "Whether the credentials file was in order when it was last read (1), or is not in force (0).",
		}),
		reloadAt: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokend_config_last_reload_success_timestamp_seconds",
			Help: "When the credentials file in force was read.",
		}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokend_calls_total",
			Help: "Answered calls by path and outcome: ok, or the code of the problem.",
		}, []string{"path", "outcome"}),
	}
	m.registry.MustRegister(m.reloadOK, m.reloadAt, m.calls, &states{
		count: count,
		states: prometheus.NewDesc("tokend_credentials",
			"Credentials by state.", []string{"state"}, nil),
		unsaved: prometheus.NewDesc("tokend_credentials_unsaved",
			"Credentials whose newest state the store does not hold.", nil, nil),
	})
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// loaded notes the outcome of reading the credentials file.
func (m *metrics) loaded(at time.Time, err error) {
	if err != nil {
		m.reloadOK.Set(0)
		return
	}
	m.reloadOK.Set(1)
	m.reloadAt.Set(float64(at.UnixNano()) / 1e9)
}

func (m *metrics) called(path, _, outcome string) { m.calls.WithLabelValues(path, outcome).Inc() }

// states collects tokend_credentials and tokend_credentials_unsaved.
type states struct {
	count           func() (map[api.State]int, int)
	states, unsaved *prometheus.Desc
}

// Describe is for prometheus.
func (s *states) Describe(ch chan<- *prometheus.Desc) {
	ch <- s.states
	ch <- s.unsaved
}

// Collect is for prometheus.
func (s *states) Collect(ch chan<- prometheus.Metric) {
	counts, unsaved := s.count()
	for _, state := range api.States {
		ch <- prometheus.MustNewConstMetric(s.states, prometheus.GaugeValue, float64(counts[state]), string(state))
	}
	ch <- prometheus.MustNewConstMetric(s.unsaved, prometheus.GaugeValue, float64(unsaved))
}
