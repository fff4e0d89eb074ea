//! The host's metrics as a scraper wants them: read from [`Metrics`] at each scrape, so that nothing is counted twice.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::metrics::{Histogram, Metrics};

/// A registry that shows `metrics`.
#[must_use]
pub fn registry(metrics: Arc<Metrics>) -> Registry {
    let mut registry = Registry::default();
    registry.sub_registry_with_prefix("wisp_host").register_collector(Box::new(Exposition(metrics)));
    registry
}

struct Exposition(Arc<Metrics>);

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exposition")
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(metrics) = self;
        let counters = [
            ("requests_started", "Requests that a guest was given", &metrics.started),
            ("requests_finished", "Requests that a guest was given and that ended in any way", &metrics.finished),
            ("requests_failed", "Requests that the host answered or cut in the guest's place", &metrics.failed),
            (
                "requests_refused",
                "Requests that no guest was given: warm, draining, or all slots taken",
                &metrics.refused,
            ),
            (
                "output_dropped_lines",
                "Lines of guests' stdout and stderr that were dropped",
                &metrics.output_dropped_lines,
            ),
            (
                "output_dropped_bytes",
                "Bytes of guests' stdout and stderr that were dropped",
                &metrics.output_dropped_bytes,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value.load(Relaxed));
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let cpu = ConstCounter::new(metrics.cpu_nanos.load(Relaxed) as f64 / 1e9);
        let help = "Time that guests computed, of requests that ended";
        cpu.encode(encoder.encode_descriptor("cpu_seconds", help, None, MetricType::Counter)?)?;
        let in_flight = ("requests_in_flight", "Requests in flight", i64::from(metrics.in_flight()));
        let memory = i64::try_from(metrics.guest_memory_bytes.load(Relaxed)).unwrap_or(i64::MAX);
        for (name, help, value) in [in_flight, ("guest_memory_bytes", "Linear memory of all wasm instances", memory)] {
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let histograms = [
            ("instantiate_seconds", "Time to make a wasm instance", &metrics.instantiate),
            ("execute_seconds", "From a request's head to the last byte of its answer", &metrics.execute),
        ];
        for (name, help, histogram) in histograms {
            encode_histogram(&mut encoder, (name, help), histogram)?;
        }
        Ok(())
    }
}

fn encode_histogram(encoder: &mut DescriptorEncoder<'_>, name: (&str, &str), histogram: &Histogram) -> fmt::Result {
    let buckets = histogram.buckets_seconds();
    let count = buckets.iter().map(|(_, count)| count).sum();
    let mut metric = encoder.encode_descriptor(name.0, name.1, None, MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(histogram.sum_seconds(), count, &buckets, None)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_number_has_a_help_text_and_histograms_are_cumulative() {
        let metrics = Arc::new(Metrics::default());
        metrics.failed.fetch_add(3, Relaxed);
        metrics.cpu_nanos.fetch_add(1_500_000_000, Relaxed);
        metrics.execute.record(Duration::from_micros(30));
        metrics.execute.record(Duration::from_secs(100));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry(metrics)).unwrap();
        for line in [
            "wisp_host_requests_failed_total 3",
            "wisp_host_cpu_seconds_total 1.5",
            "wisp_host_requests_in_flight 0",
            "wisp_host_execute_seconds_count 2",
            "wisp_host_execute_seconds_bucket{le=\"0.00005\"} 1",
            "wisp_host_execute_seconds_bucket{le=\"60.0\"} 1",
            "wisp_host_execute_seconds_bucket{le=\"+Inf\"} 2",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in {text}");
        }
        assert_eq!(text.matches("# TYPE").count(), text.matches("# HELP").count());
    }
}
