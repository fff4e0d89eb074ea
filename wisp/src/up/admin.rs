//! The admin port of `wisp up`: the status page, the interface of the other commands, and what every process has.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use wisp_activator::{Conflict, Index, RevisionSnapshot};
use wisp_api::key::{FunctionKey, RevisionKey};
use wisp_api::route;
use wisp_api::status::Reason;
use wisp_autoscaler::{Handle, InstanceView, RevisionView, Snapshot};
use wisp_chassis::admin::{self, Admin, Body};

use super::board::{Board, Condition, Entry};
use super::clock;
use super::deploy::Deployer;
use super::fleet::Processes;
use super::logs::Logs;
use crate::{page, view};

/// Lines of a log that are sent at most before new ones.
const TAIL_MAX: usize = 1000;

/// Everything that the admin port shows.
pub(crate) struct AdminPort {
    pub(crate) common: Admin,
    pub(crate) board: Arc<Board>,
    pub(crate) autoscaler: Handle,
    pub(crate) index: Arc<Index>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) processes: Processes,
    pub(crate) deployer: Arc<Deployer>,
    pub(crate) listen: String,
    /// The port to show in URLs, with its colon; empty for the usual one.
    pub(crate) port_suffix: String,
    /// Open streams end with it.
    pub(crate) shutdown: CancellationToken,
}

/// The numbers of all revisions, at one time.
struct Numbers {
    autoscaler: Snapshot,
    by_revision: HashMap<String, (Option<RevisionView>, Option<RevisionSnapshot>)>,
    /// The first host of each function that belongs to an older one.
    conflicts: HashMap<FunctionKey, Conflict>,
}

impl AdminPort {
    /// Answers one request.
    pub(crate) async fn respond(&self, request: Request<Incoming>) -> Response<Body> {
        if !host_is_local(&request) {
            let message = "this port answers to an address or localhost only; do not reach it by another name\n";
            return admin::text(StatusCode::MISDIRECTED_REQUEST, message);
        }
        if let Some(response) = self.common.respond(&request).or_else(|| page::respond(request.uri().path())) {
            return response;
        }
        let path = request.uri().path().to_owned();
        let query = query(request.uri().query().unwrap_or_default());
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (request.method(), parts.as_slice()) {
            (&Method::GET, ["api", "overview"]) => self.overview().await,
            (&Method::GET, ["api", "events"]) => self.events(),
            (method, ["api", "functions", namespace, name, rest @ ..]) => {
                let key = FunctionKey::new(*namespace, *name);
                let Some(entry) = self.board.get(&key) else {
                    return admin::text(StatusCode::NOT_FOUND, format!("there is no function {key}\n"));
                };
                match (method, rest) {
                    (&Method::GET, []) => self.detail(&key, entry).await,
                    (&Method::DELETE, []) => self.delete(&key).await,
                    (&Method::GET, ["decisions"]) => self.decisions(&key, &entry, query.get("revision")).await,
                    (&Method::GET, ["logs"]) => self.log(key, &query),
                    _ => admin::text(StatusCode::NOT_FOUND, "there is nothing here\n"),
                }
            }
            _ => admin::text(StatusCode::NOT_FOUND, "there is nothing here; / is the status page\n"),
        }
    }

    async fn overview(&self) -> Response<Body> {
        let numbers = match self.numbers().await {
            Ok(numbers) => numbers,
            Err(response) => return response,
        };
        let functions =
            self.board.all().into_iter().map(|(key, entry)| self.function(&key, &entry, &numbers)).collect();
        admin::json(&view::Overview {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            unix_millis: clock::unix_millis(),
            listen: self.listen.clone(),
            domain: self.deployer.domain.clone(),
            functions,
            warm: u32::try_from(numbers.autoscaler.warm).unwrap_or(u32::MAX),
            cold_starts: serde_json::to_value(&numbers.autoscaler.cold_starts).unwrap_or_default(),
        })
    }

    async fn detail(&self, key: &FunctionKey, entry: Entry) -> Response<Body> {
        let numbers = match self.numbers().await {
            Ok(numbers) => numbers,
            Err(response) => return response,
        };
        let names: Vec<String> = entry.revisions.iter().map(|note| full(key, &note.name)).collect();
        let of_function =
            |instance: &&InstanceView| instance.revision.as_ref().is_some_and(|name| names.contains(name));
        let instances = numbers.autoscaler.instances.iter().filter(of_function);
        let instances = instances.map(|instance| self.instance(instance));
        admin::json(&view::Detail {
            function: self.function(key, &entry, &numbers),
            origin: entry.origin.display().to_string(),
            // Rarely asked for, and large: not kept in memory.
            spec: self.deployer.state.get(key).map(|stored| stored.spec),
            revisions: entry.revisions.iter().rev().map(|note| numbers.revision(key, note, &entry)).collect(),
            instances: instances.collect(),
            events: entry.events.into_iter().collect(),
        })
    }

    async fn decisions(&self, key: &FunctionKey, entry: &Entry, revision: Option<&String>) -> Response<Body> {
        let mut answer = BTreeMap::new();
        let with_traffic = entry.traffic.iter().map(|target| &target.revision);
        let names: Vec<&String> = revision.map_or_else(|| with_traffic.collect(), |name| vec![name]);
        for name in names {
            match self.autoscaler.explain(&RevisionKey::new(&key.namespace, name)).await {
                Ok(Some(decisions)) => {
                    answer.insert(name.clone(), decisions);
                }
                Ok(None) => {
                    return admin::text(StatusCode::NOT_FOUND, format!("{key} has no revision {name} in effect\n"));
                }
                Err(error) => return unavailable(&error),
            }
        }
        admin::json(&answer)
    }

    async fn delete(&self, key: &FunctionKey) -> Response<Body> {
        self.deployer.delete(key).await;
        admin::text(StatusCode::OK, format!("{key} is deleted\n"))
    }

    fn log(&self, key: FunctionKey, query: &HashMap<String, String>) -> Response<Body> {
        // Subscribed first, so that no line falls between.
        let new = self.logs.follow();
        let count = query.get("tail").and_then(|text| text.parse().ok()).unwrap_or(TAIL_MAX);
        let tail = stream::iter(self.logs.tail(&key, count)).map(|line| json_line(&line));
        if query.get("follow").map(String::as_str) != Some("true") {
            return streamed("application/x-ndjson", tail);
        }
        let new = stream::unfold((new, key), |(mut new, key)| async move {
            loop {
                match new.recv().await {
                    Ok(line) if line.function == key => return Some((json_line(&line.line), (new, key))),
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        streamed("application/x-ndjson", tail.chain(new).take_until(self.shutdown.clone().cancelled_owned()))
    }

    fn events(&self) -> Response<Body> {
        let facts = self.autoscaler.subscribe();
        let events = stream::unfold(facts, |mut facts| async move {
            loop {
                match facts.recv().await {
                    Ok(fact) => {
                        let data = serde_json::to_string(&fact).unwrap_or_default();
                        return Some((Bytes::from(format!("data: {data}\n\n")), facts));
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        // The comment makes the browser see an open stream at once.
        let begin = stream::iter([Bytes::from_static(b": events\n\n")]);
        streamed("text/event-stream", begin.chain(events).take_until(self.shutdown.clone().cancelled_owned()))
    }

    fn instance(&self, instance: &InstanceView) -> view::Instance {
        let revision = instance.revision.as_deref().and_then(|name| name.split_once('/'));
        view::Instance {
            name: instance.instance.clone(),
            pid: self.processes.pid(&instance.instance),
            revision: revision.map(|(_, name)| name.to_owned()).unwrap_or_default(),
            state: word(&instance.state),
            in_flight: Some(instance.in_flight),
            age_millis: u64::try_from(instance.age.as_millis()).unwrap_or(u64::MAX),
        }
    }

    async fn numbers(&self) -> Result<Numbers, Response<Body>> {
        let autoscaler = self.autoscaler.snapshot().await.map_err(|error| unavailable(&error))?;
        let mut by_revision: HashMap<String, (Option<RevisionView>, Option<RevisionSnapshot>)> = HashMap::new();
        for revision in &autoscaler.revisions {
            by_revision.entry(revision.revision.clone()).or_default().0 = Some(revision.clone());
        }
        for revision in self.index.revisions() {
            let name = revision.revision.clone();
            by_revision.entry(name).or_default().1 = Some(revision);
        }
        let conflicts = self.index.conflicts().into_iter().rev();
        let conflicts = conflicts.map(|conflict| (conflict.function.clone(), conflict)).collect();
        Ok(Numbers { autoscaler, by_revision, conflicts })
    }

    fn function(&self, key: &FunctionKey, entry: &Entry, numbers: &Numbers) -> view::Function {
        let condition = numbers.condition(key, entry);
        let mut function = view::Function {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            url: format!("http://{}{}", route::host(key, &self.deployer.domain), self.port_suffix),
            ready: condition.ready,
            reason: condition.reason,
            message: condition.message,
            latest_revision: entry.revisions.last().map(|note| note.name.clone()).unwrap_or_default(),
            traffic: entry.traffic.clone(),
            replicas: 0,
            starting: 0,
            draining: 0,
            requests: None,
            created_unix_seconds: entry.created_unix_seconds,
        };
        let mut requests = view::Requests::default();
        for note in &entry.revisions {
            let Some((scaled, seen)) = numbers.by_revision.get(&full(key, &note.name)) else { continue };
            if let Some(scaled) = scaled {
                function.replicas += scaled.ready;
                function.starting += scaled.starting;
                function.draining += u32::try_from(scaled.draining).unwrap_or(u32::MAX);
            }
            if let Some(seen) = seen {
                requests.waiting += seen.waiting;
                requests.in_flight += seen.in_flight;
                requests.requests_total += seen.requests_total;
                requests.failed_total += seen.failed_total;
            }
        }
        function.requests = Some(requests);
        function
    }
}

impl Numbers {
    /// What the deployer says, unless a host is an older function's: that may change with the other function alone.
    fn condition(&self, key: &FunctionKey, entry: &Entry) -> Condition {
        match self.conflicts.get(key) {
            Some(Conflict { host, path, owner, .. }) if entry.condition.ready == view::Ready::True => {
                let message = format!(
                    "host {host} with path {path} belongs to function {owner}, which is older; change spec.ingress of \
                     one of them"
                );
                Condition::failed(Reason::HostConflict, message)
            }
            _ => entry.condition.clone(),
        }
    }

    fn revision(&self, key: &FunctionKey, note: &super::board::RevisionNote, entry: &Entry) -> view::Revision {
        let scaled = self.by_revision.get(&full(key, &note.name)).and_then(|numbers| numbers.0.as_ref());
        let shares = entry.traffic.iter().filter(|target| target.revision == note.name);
        view::Revision {
            name: note.name.clone(),
            digest: note.digest.clone(),
            created_unix_seconds: note.created_unix_seconds,
            percent: shares.map(|target| target.percent).sum(),
            wanted: scaled.map_or(0, |revision| revision.wanted),
            ready: scaled.map_or(0, |revision| revision.ready),
        }
    }
}

fn full(key: &FunctionKey, revision: &str) -> String {
    format!("{}/{revision}", key.namespace)
}

/// A closed enum's word, as JSON has it.
fn word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn unavailable(error: &wisp_autoscaler::HandleError) -> Response<Body> {
    admin::text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))
}

fn json_line(line: &view::LogLine) -> Bytes {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

fn streamed(content_type: &'static str, chunks: impl Stream<Item = Bytes> + Send + Sync + 'static) -> Response<Body> {
    let frames = chunks.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Names with values, as the commands send them: nothing in them needs decoding.
fn query(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A page of another site can make its own name lead here; what it asks then bears that name.
fn host_is_local<B>(request: &Request<B>) -> bool {
    let Some(host) = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()) else { return true };
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(host: &str) -> Request<()> {
        Request::get("/").header(header::HOST, host).body(()).unwrap()
    }

    #[test]
    fn another_sites_name_is_refused() {
        for good in ["127.0.0.1:8081", "localhost:8081", "[::1]:8081", "10.0.0.7"] {
            assert!(host_is_local(&to(good)), "{good}");
        }
        for bad in ["evil.example", "127.0.0.1.evil.example:8081", "localhost.evil.example"] {
            assert!(!host_is_local(&to(bad)), "{bad}");
        }
    }
}
