//! A source of metrics for a HorizontalPodAutoscaler: the API `external.metrics.k8s.io`, served by the test and made
//! known to the API server, as the adapters of monitoring systems do. It has one number, the length of some queue.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use wisp_platform::Platform;

const GROUP: &str = "external.metrics.k8s.io";
const VERSION: &str = "external.metrics.k8s.io/v1beta1";

/// A queue whose length an autoscaler may ask for, as long as this lives.
pub(crate) struct Queue {
    length: Arc<AtomicU32>,
    server: JoinHandle<()>,
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Queue {
    /// Serves the metric `queue` to the cluster, and returns when the API server knows of it.
    pub(crate) async fn serve(platform: &Platform) -> Self {
        let listener = TcpListener::bind((platform.outside_ip(), 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let length = Arc::new(AtomicU32::new(0));
        let server = tokio::spawn(serve(listener, acceptor(), Arc::clone(&length)));
        for object in objects(&platform.outside_ip().to_string(), port) {
            platform.apply(&object.to_string()).await.unwrap();
        }
        let available = ["wait", "--for=condition=Available", "apiservice/v1beta1.external.metrics.k8s.io"];
        platform.kubectl(available.iter().chain(&["--timeout=90s"])).await.unwrap();
        Self { length, server }
    }

    /// Takes it away again: whoever looks for all APIs would stumble over one that does not answer.
    pub(crate) async fn end(self, platform: &Platform) {
        platform.kubectl(["delete", "apiservice/v1beta1.external.metrics.k8s.io"]).await.unwrap();
    }

    pub(crate) fn set_length(&self, length: u32) {
        self.length.store(length, Ordering::Relaxed);
    }
}

fn acceptor() -> TlsAcceptor {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["queue".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, length: Arc<AtomicU32>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, length) = (acceptor.clone(), Arc::clone(&length));
        // Ends with its client, at the latest with the cluster.
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let answer = |request: Request<Incoming>| {
                let answer = answer(request.uri().path(), length.load(Ordering::Relaxed));
                async move { Ok::<_, Infallible>(answer) }
            };
            let server = auto::Builder::new(TokioExecutor::new());
            let _ended = server.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

fn answer(path: &str, length: u32) -> Response<Full<Bytes>> {
    let found = match path.strip_prefix("/apis/").and_then(|path| path.strip_prefix(VERSION)) {
        Some("") => {
            Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": VERSION, "resources": [{
                "name": "queue", "singularName": "", "namespaced": true, "kind": "ExternalMetricValueList", "verbs": ["get"],
            }]}))
        }
        Some(metric) if metric.ends_with("/queue") => Some(json!({
            "kind": "ExternalMetricValueList", "apiVersion": VERSION, "metadata": {},
            "items": [{"metricName": "queue", "metricLabels": {}, "timestamp": jiff::Timestamp::now().to_string(),
                "value": length.to_string()}],
        })),
        _ => None,
    };
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let body = found.map(|found| found.to_string()).unwrap_or_default();
    let answer = Response::builder().status(status).header("content-type", "application/json");
    answer.body(Full::new(body.into())).unwrap()
}

/// By which the API server finds it: a Service that leads to this machine.
fn objects(address: &str, port: u16) -> [Value; 3] {
    let ports = json!([{"name": "https", "port": port}]);
    [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "queue", "namespace": "default"},
            "spec": {"ports": ports}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "queue", "namespace": "default", "labels": {"kubernetes.io/service-name": "queue"}},
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}], "ports": ports}),
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": format!("v1beta1.{GROUP}")},
            "spec": {"group": GROUP, "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                "insecureSkipTLSVerify": true, "service": {"name": "queue", "namespace": "default", "port": port}}}),
    ]
}
