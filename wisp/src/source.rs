//! Whom the commands ask: a running `wisp up`, or a cluster. Both tell of functions in the form of [`crate::view`].

use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use bytes::{Buf, Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use wisp_api::FunctionKey;

use crate::cli::{ClusterArgs, FunctionArgs, Program};
use crate::client::{self, Admin, Answer, ClientError, RequestBody, segment};
use crate::cluster::Cluster;
use crate::cluster::logs::PodLines;
use crate::view::{LogLine, Overview};

/// The namespace where none is named and no context knows better.
const DEFAULT_NAMESPACE: &str = "default";

/// Whom the commands ask.
pub(crate) enum Source {
    /// A `wisp up`, by its admin port.
    Up(Admin),
    /// A cluster, by its API server.
    Cluster(Box<Cluster>),
}

impl Source {
    /// A cluster when one is named or kubectl called this program, else a `wisp up`, which is not asked yet.
    ///
    /// # Errors
    /// When the cluster's configuration cannot be had.
    pub(crate) async fn connect(program: Program, admin: SocketAddr, cluster: &ClusterArgs) -> anyhow::Result<Self> {
        if program == Program::Plugin || cluster.name_one() {
            return Ok(Self::Cluster(Box::new(Cluster::connect(cluster).await?)));
        }
        Ok(Self::Up(Admin { address: admin }))
    }

    /// Which function is meant.
    pub(crate) fn key(&self, function: &FunctionArgs) -> FunctionKey {
        let default = match self {
            Self::Up(_) => DEFAULT_NAMESPACE,
            Self::Cluster(cluster) => &cluster.namespace,
        };
        FunctionKey::new(function.namespace.as_deref().unwrap_or(default), &function.name)
    }

    /// The namespace to list; none for all.
    pub(crate) fn scope<'a>(&'a self, given: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::Up(_) => given,
            Self::Cluster(cluster) => Some(given.unwrap_or(&cluster.namespace)),
        }
    }

    /// Where a name that was meant instead of `key` may be looked for. Not everybody may look everywhere in a cluster.
    pub(crate) fn neighbours<'a>(&self, key: &'a FunctionKey) -> Option<&'a str> {
        match self {
            Self::Up(_) => None,
            Self::Cluster(_) => Some(&key.namespace),
        }
    }

    /// What to do where there is no function.
    pub(crate) fn how_to_get_one(&self) -> &'static str {
        match self {
            Self::Up(_) => "put a manifest into the folder that `wisp up` was given, or see `wisp new`",
            Self::Cluster(_) => "see `kubectl wisp deploy`",
        }
    }

    /// All functions, or those of a namespace: an [`Overview`] as JSON.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(crate) async fn overview(&self, namespace: Option<&str>) -> anyhow::Result<Bytes> {
        match (self, namespace) {
            (Self::Up(admin), None) => Ok(admin.get("/api/overview").await?),
            (Self::Up(admin), Some(namespace)) => {
                let overview = only(admin.parse(&admin.get("/api/overview").await?)?, namespace);
                Ok(serde_json::to_vec(&overview)?.into())
            }
            (Self::Cluster(cluster), _) => Ok(serde_json::to_vec(&cluster.overview(namespace).await?)?.into()),
        }
    }

    /// A function with all that belongs to it, a [`crate::view::Detail`] as JSON; none when there is no such function.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(crate) async fn detail(&self, key: &FunctionKey) -> anyhow::Result<Option<Bytes>> {
        match self {
            Self::Up(admin) => known(admin.get(&path(key)).await),
            Self::Cluster(cluster) => match cluster.detail(key).await? {
                Some(detail) => Ok(Some(serde_json::to_vec(&detail)?.into())),
                None => Ok(None),
            },
        }
    }

    /// The last decisions of a revision, or of all with traffic, as JSON by revision.
    ///
    /// # Errors
    /// When they cannot be had.
    pub(crate) async fn decisions(&self, key: &FunctionKey, revision: Option<&str>) -> anyhow::Result<Bytes> {
        let query = revision.map(|revision| format!("?revision={}", segment(revision))).unwrap_or_default();
        let path = format!("{}/decisions{query}", path(key));
        match self {
            Self::Up(admin) => Ok(admin.get(&path).await?),
            Self::Cluster(cluster) => cluster.ask_autoscaler(&path).await,
        }
    }

    /// Deletes a function; none when there is no such function.
    ///
    /// # Errors
    /// When it cannot be deleted.
    pub(crate) async fn delete(&self, key: &FunctionKey) -> anyhow::Result<Option<()>> {
        match self {
            Self::Up(admin) => Ok(known(admin.delete(&path(key)).await)?.map(drop)),
            Self::Cluster(cluster) => cluster.delete(key).await,
        }
    }

    /// What a function's instances wrote, from the last `tail` lines on; none when there is no such function.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(crate) async fn logs(&self, key: &FunctionKey, tail: usize, follow: bool) -> anyhow::Result<Option<Lines>> {
        match self {
            Self::Up(admin) => {
                let path = format!("{}/logs?tail={tail}&follow={follow}", path(key));
                let answer = known(admin.stream(&path).await)?;
                Ok(answer
                    .map(|answer| Lines::Up(Box::new(UpLines { admin: *admin, answer, buffered: BytesMut::new() }))))
            }
            Self::Cluster(cluster) => Ok(cluster.logs(key, tail, follow).await?.map(Lines::Cluster)),
        }
    }

    /// Sends a request that names a function in its host to where requests arrive.
    ///
    /// # Errors
    /// When there is no answer.
    pub(crate) async fn send(&self, request: Request<RequestBody>) -> anyhow::Result<Answer> {
        match self {
            Self::Up(admin) => {
                let overview: Overview = admin.parse(&admin.get("/api/overview").await?)?;
                Ok(client::send(data_address(&overview.listen, admin.address.ip())?, request).await?)
            }
            Self::Cluster(cluster) => cluster.send_to_activator(request).await,
        }
    }

    /// What an answer of this source says.
    ///
    /// # Errors
    /// When it is not what a source of this version says.
    pub(crate) fn parse<T: DeserializeOwned>(&self, bytes: &[u8]) -> anyhow::Result<T> {
        match self {
            Self::Up(admin) => Ok(admin.parse(bytes)?),
            Self::Cluster(_) => serde_json::from_slice(bytes).context("the cluster's Wisp is of another version"),
        }
    }

    /// The cluster, for the commands that only a cluster can do.
    ///
    /// # Errors
    /// What to do with a `wisp up` instead.
    pub(crate) fn cluster(&self, instead: &str) -> anyhow::Result<&Cluster> {
        match self {
            Self::Up(_) => anyhow::bail!("{instead}; for a cluster, call `kubectl wisp` or give --context"),
            Self::Cluster(cluster) => Ok(cluster),
        }
    }
}

/// Lines of a function's instances, as they come.
pub(crate) enum Lines {
    Up(Box<UpLines>),
    Cluster(PodLines),
}

/// Newline-delimited JSON of a `wisp up`.
pub(crate) struct UpLines {
    admin: Admin,
    answer: Answer,
    buffered: BytesMut,
}

impl Lines {
    /// The next line; none when there are no more.
    ///
    /// # Errors
    /// When the source breaks off.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<LogLine>> {
        match self {
            Self::Up(lines) => lines.next().await,
            Self::Cluster(lines) => lines.next().await,
        }
    }
}

impl UpLines {
    async fn next(&mut self) -> anyhow::Result<Option<LogLine>> {
        let mut searched = 0;
        loop {
            let end = self.buffered[searched..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                return Ok(Some(self.admin.parse(&self.buffered.split_to(searched + end + 1))?));
            }
            searched = self.buffered.len();
            match self.answer.response.body_mut().frame().await {
                Some(Ok(frame)) => {
                    if let Ok(mut data) = frame.into_data() {
                        self.buffered.extend_from_slice(&data.copy_to_bytes(data.remaining()));
                    }
                }
                Some(Err(error)) => return Err(self.answer.broken(error).into()),
                // Half a line at the end is a line of nobody.
                None => return Ok(None),
            }
        }
    }
}

/// Where an admin port tells of a function.
fn path(key: &FunctionKey) -> String {
    format!("/api/functions/{}/{}", segment(&key.namespace), segment(&key.name))
}

/// Nothing, where the server knows no such function.
fn known<T>(answer: Result<T, ClientError>) -> anyhow::Result<Option<T>> {
    match answer {
        Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
        other => Ok(Some(other?)),
    }
}

/// The server's answer with the functions of one namespace, and whatever else it says.
fn only(mut overview: serde_json::Value, namespace: &str) -> serde_json::Value {
    if let Some(functions) = overview.get_mut("functions").and_then(|functions| functions.as_array_mut()) {
        functions.retain(|function| function.get("namespace").and_then(|value| value.as_str()) == Some(namespace));
    }
    overview
}

/// Where to connect: what listens on every address is reached at the one where its admin port answered.
fn data_address(listen: &str, admin: IpAddr) -> anyhow::Result<SocketAddr> {
    let mut address: SocketAddr =
        listen.parse().with_context(|| format!("wisp up says that it listens on {listen:?}"))?;
    if address.ip().is_unspecified() {
        address.set_ip(admin);
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_reached_where_the_admin_port_answered() {
        let admin = "192.0.2.7".parse().unwrap();
        assert_eq!(data_address("0.0.0.0:8080", admin).unwrap().to_string(), "192.0.2.7:8080");
        assert_eq!(data_address("127.0.0.1:8080", admin).unwrap().to_string(), "127.0.0.1:8080");
    }

    #[test]
    fn json_of_one_namespace_keeps_all_other_fields() {
        let whole = serde_json::json!({"later": 1, "functions": [{"namespace": "a", "x": 1}, {"namespace": "b"}]});
        let part = serde_json::json!({"later": 1, "functions": [{"namespace": "a", "x": 1}]});
        assert_eq!(only(whole, "a"), part);
    }
}
