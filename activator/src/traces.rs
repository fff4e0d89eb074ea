//! Spans of requests, for who collects them by OpenTelemetry's protocol (OTLP over gRPC).
//!
//! A sampled request is a span with a child for each part that `Server-Timing` names. They are made at the head of its
//! answer, of times that were taken anyway, so that a request which is not sampled costs next to nothing. Which ones are is
//! the client's choice where it names a trace, and `OTEL_TRACES_SAMPLER`'s where it does not.

use std::time::{Duration, SystemTime};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};

use crate::headers::{self, Timing};
use crate::index::Hit;

/// The variables that name a collector; OpenTelemetry's own, as all others that are heeded.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const SERVICE: &str = "wisp-activator";

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("traces: {0}; OTEL_EXPORTER_OTLP_ENDPOINT must be a collector's address, such as http://collector:4317")]
pub struct TracesError(#[from] ExporterBuildError);

/// Where spans go. What a collector does not take in time is dropped: 2,048 wait at most.
#[derive(Clone, Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// The span of a request on its way.
pub(crate) struct RequestSpan<'a> {
    traces: &'a Traces,
    span: Span,
    began: SystemTime,
}

impl Traces {
    /// As OpenTelemetry's environment variables say; none when they name no collector. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// When the collector's address is none.
    pub fn from_environment() -> Result<Option<Self>, TracesError> {
        if ENDPOINTS.iter().all(|name| std::env::var_os(name).is_none_or(|value| value.is_empty())) {
            return Ok(None);
        }
        Ok(Some(Self::new(SpanExporter::builder().with_tonic().build()?)))
    }

    /// To the collector at `endpoint`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When that is no address.
    pub fn to(endpoint: &str) -> Result<Self, TracesError> {
        Ok(Self::new(SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?))
    }

    fn new(exporter: SpanExporter) -> Self {
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(SERVICE);
        }
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
        let tracer = provider.tracer(SERVICE);
        Self { provider, tracer }
    }

    /// Sends what waits.
    pub async fn flush(&self) {
        let provider = self.provider.clone();
        // It waits for a thread of its own.
        let flushed = tokio::task::spawn_blocking(move || provider.force_flush()).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "the last spans are lost");
        }
    }

    /// Begins the span of a request, and makes it the parent of what the instance does. None when it is not sampled.
    pub(crate) fn begin(&self, head: &mut Parts, hit: &Hit) -> Option<RequestSpan<'_>> {
        let began = SystemTime::now();
        let parent = parent(&head.headers);
        if parent.is_none() {
            headers::drop_trace(&mut head.headers);
        }
        let context = parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let path = head.uri.path().to_owned();
        let span = SpanBuilder::from_name(head.method.to_string())
            .with_kind(SpanKind::Server)
            .with_start_time(began)
            .with_attributes([
                KeyValue::new("http.request.method", head.method.to_string()),
                KeyValue::new("url.path", path),
                KeyValue::new("wisp.revision", hit.revision.name.to_string()),
            ])
            .start_with_context(&self.tracer, &context);
        headers::set_traceparent(&mut head.headers, traceparent(span.span_context()));
        span.is_recording().then_some(RequestSpan { traces: self, span, began })
    }
}

impl RequestSpan<'_> {
    /// Ends it with what was answered, and how long the parts took.
    pub(crate) fn end(mut self, status: StatusCode, timing: Timing) {
        let ended = SystemTime::now();
        self.span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        self.span.set_attribute(KeyValue::new("wisp.cold", timing.start.is_some()));
        if status.is_server_error() {
            self.span.set_status(Status::error(status.to_string()));
        }
        let queued = self.began + timing.queue;
        self.part("queue", self.began, timing.queue);
        if let Some(start) = timing.start {
            self.part("start", queued, start);
        }
        self.part("exec", ended.checked_sub(timing.exec).unwrap_or(self.began), timing.exec);
        self.span.end_with_timestamp(ended);
    }

    fn part(&self, name: &'static str, began: SystemTime, took: Duration) {
        if took.is_zero() {
            return;
        }
        let context = Context::new().with_remote_span_context(self.span.span_context().clone());
        let mut span =
            SpanBuilder::from_name(name).with_start_time(began).start_with_context(&self.traces.tracer, &context);
        span.end_with_timestamp(began + took);
    }
}

/// What the client says that the request is part of (W3C Trace Context).
fn parent(headers: &HeaderMap) -> Option<SpanContext> {
    let text = headers::traceparent(headers)?;
    let trace = TraceId::from_hex(&text[3..35]).ok()?;
    let span = SpanId::from_hex(&text[36..52]).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(&text[53..55], 16).ok()?);
    // It travels on as it is; nothing here reads it.
    Some(SpanContext::new(trace, span, flags, true, TraceState::NONE))
}

fn traceparent(span: &SpanContext) -> HeaderValue {
    let text = format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8() & 1);
    HeaderValue::try_from(text).expect("hexadecimal digits and dashes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_span_is_the_parent_and_nonsense_is_none() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static(text));
        let found = parent(&headers).unwrap();
        assert!(found.is_sampled() && found.is_remote());
        assert_eq!(traceparent(&found), text);
        headers.append("traceparent", HeaderValue::from_static(text));
        assert_eq!(parent(&headers), None);
        headers.insert("traceparent", HeaderValue::from_static("00-xyz"));
        assert_eq!(parent(&headers), None);
    }
}
