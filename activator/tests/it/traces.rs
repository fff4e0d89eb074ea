//! What a collector of traces is told, by OpenTelemetry's own protocol.

use std::collections::BTreeMap;

use http::header::HeaderValue;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use wisp_activator::Traces;

use crate::rig::{Client, Instance, Rig, function, get, says, soon, spawn_get};

const HELLO: &str = "default/hello-00001";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

/// Takes spans, as a collector does.
struct Collector(mpsc::UnboundedSender<Span>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let spans = request.into_inner().resource_spans.into_iter();
        let spans = spans.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
        spans.for_each(|span| self.0.send(span).unwrap());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// An activator that sends its spans, and what it sends.
async fn traced() -> (Rig, Traces, mpsc::UnboundedReceiver<Span>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let traces = Traces::to(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let (sender, spans) = mpsc::unbounded_channel();
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let rig = Rig::start_with(|config| config.traces = Some(traces.clone())).await;
    rig.deploy(function("hello"));
    (rig, traces, spans)
}

async fn next(spans: &mut mpsc::UnboundedReceiver<Span>) -> Span {
    soon("a span", spans.recv()).await.unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn ask(client: &mut Client, parent: &str) -> u16 {
    let mut request = get("hello.test", "/path");
    request.headers_mut().insert("traceparent", HeaderValue::from_str(parent).unwrap());
    client.send(request).await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_from_zero_is_a_span_with_its_parts_in_order() {
    let (mut rig, traces, mut spans) = traced().await;
    let answer = spawn_get(rig.addr, "hello.test", "/path");
    rig.autoscaler.next_wake().await;
    let instance = Instance::unix("one", says("hello")).await;
    // Less than what it waited, so that both parts are there.
    let endpoint = wisp_api::wire::Endpoint { start_micros: 1, ..instance.endpoint(10) };
    rig.autoscaler.endpoints(HELLO, &[endpoint]).await;
    assert_eq!(answer.await.unwrap().status, 200);
    traces.flush().await;
    let mut found = BTreeMap::new();
    for _ in 0..4 {
        let span = next(&mut spans).await;
        found.insert(span.name.clone(), span);
    }
    let whole = &found["GET"];
    assert!(whole.parent_span_id.is_empty());
    let revision = whole.attributes.iter().find(|attribute| attribute.key == "wisp.revision").unwrap();
    assert!(format!("{revision:?}").contains(HELLO), "{revision:?}");
    let parts = ["queue", "start", "exec"].map(|name| &found[name]);
    for part in parts {
        assert_eq!((&part.trace_id, &part.parent_span_id), (&whole.trace_id, &whole.span_id), "{}", part.name);
        assert!(whole.start_time_unix_nano <= part.start_time_unix_nano, "{}", part.name);
        assert!(part.end_time_unix_nano <= whole.end_time_unix_nano, "{}", part.name);
    }
    assert!(parts.is_sorted_by_key(|part| part.start_time_unix_nano), "{parts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_trace_goes_on_in_the_instance_and_its_choice_not_to_sample_counts() {
    let (mut rig, traces, mut spans) = traced().await;
    let (seen, mut parents) = mpsc::unbounded_channel();
    let instance = Instance::unix("one", move |request: http::Request<hyper::body::Incoming>| {
        seen.send(request.headers()["traceparent"].to_str().unwrap().to_owned()).unwrap();
        says("hello")(request)
    });
    let instance = instance.await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(10)]).await;
    let mut client = rig.client().await;
    assert_eq!(ask(&mut client, &format!("00-{TRACE}-{CLIENT}-00")).await, 200);
    assert!(parents.recv().await.unwrap().starts_with(&format!("00-{TRACE}-")));
    assert_eq!(ask(&mut client, &format!("00-{TRACE}-{CLIENT}-01")).await, 200);
    traces.flush().await;
    // Only the second one's.
    let span = loop {
        let span = next(&mut spans).await;
        if span.name == "GET" {
            break span;
        }
    };
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), CLIENT.to_owned()));
    assert_eq!(parents.recv().await.unwrap(), format!("00-{TRACE}-{}-01", hex(&span.span_id)));
    let rest = std::iter::from_fn(|| spans.try_recv().ok()).map(|span| span.name).collect::<Vec<_>>();
    assert!(!rest.contains(&"GET".to_owned()), "{rest:?}");
}
