//! What a function's pods wrote, by the API server. While it is followed, pods that come join in.

use std::collections::HashSet;
use std::time::Duration;
use std::vec;

use anyhow::Context;
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, LogParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use wisp_api::FunctionKey;
use wisp_api::names::LABEL_REVISION;

use super::{Cluster, is_final, objects, of_function, said};
use crate::view::{LogLine, Stream};

/// The container of a pod that is the instance.
const CONTAINER: &str = "instance";
/// Logs that are read at once where nobody follows.
const READS_MAX: usize = 8;
/// Pods that are followed at once: each is a connection to the API server.
const FOLLOWED_MAX: usize = 100;
/// What is read of one pod where nobody follows.
const LOG_BYTES_MAX: i64 = 16 << 20;
/// Lines that wait to be printed.
const LINES_WAITING: usize = 256;
/// Between two looks at a pod whose log broke off.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Lines of pods, as they come.
pub(crate) enum PodLines {
    /// Those that were there.
    Kept(vec::IntoIter<LogLine>),
    /// Those that come.
    Followed { lines: mpsc::Receiver<anyhow::Result<LogLine>>, _task: AbortOnDropHandle<()> },
}

impl PodLines {
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<LogLine>> {
        match self {
            Self::Kept(lines) => Ok(lines.next()),
            Self::Followed { lines, .. } => lines.recv().await.transpose(),
        }
    }
}

impl Cluster {
    /// The logs of a function's pods; none when there is no such function.
    pub(crate) async fn logs(&self, key: &FunctionKey, tail: usize, follow: bool) -> anyhow::Result<Option<PodLines>> {
        if self.function(key).await?.is_none() {
            return Ok(None);
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        if !follow {
            let listed = self.list::<Pod>(Some(&key.namespace), &of_function(key)).await?;
            return Ok(Some(PodLines::Kept(kept(&pods, listed, tail).await?.into_iter())));
        }
        let (sender, lines) = mpsc::channel(LINES_WAITING);
        let task = tokio::spawn(follow_all(pods, of_function(key), Tail { lines: sender, count: tail }));
        Ok(Some(PodLines::Followed { lines, _task: AbortOnDropHandle::new(task) }))
    }
}

/// The last lines of all pods, in the order of their times.
async fn kept(pods: &Api<Pod>, listed: Vec<Pod>, tail: usize) -> anyhow::Result<Vec<LogLine>> {
    let read = listed.into_iter().filter(has_begun).map(|pod| async move {
        let text = match pods.logs(&pod.name_any(), &parameters(tail)).await {
            // It has gone since it was listed.
            Err(kube::Error::Api(status)) if status.is_not_found() => String::new(),
            text => {
                let text = text.map_err(said);
                text.with_context(|| format!("the log of pod {} cannot be read", pod.name_any()))?
            }
        };
        anyhow::Ok(text.lines().map(|text| line(&pod, text).1).collect::<Vec<_>>())
    });
    let logs: Vec<Vec<LogLine>> = stream::iter(read).buffered(READS_MAX).try_collect().await?;
    let mut lines = logs.concat();
    lines.sort_by_key(|line| line.unix_millis);
    Ok(lines.split_off(lines.len().saturating_sub(tail)))
}

fn parameters(tail: usize) -> LogParams {
    let tail_lines = Some(i64::try_from(tail).unwrap_or(i64::MAX));
    let container = Some(CONTAINER.to_owned());
    LogParams { container, timestamps: true, tail_lines, limit_bytes: Some(LOG_BYTES_MAX), ..LogParams::default() }
}

/// Where lines go, and with how many a pod begins.
#[derive(Clone)]
struct Tail {
    lines: mpsc::Sender<anyhow::Result<LogLine>>,
    count: usize,
}

async fn follow_all(pods: Api<Pod>, selector: String, tail: Tail) {
    let ours = watcher::Config::default().labels(&selector);
    let mut changes = std::pin::pin!(watcher(pods.clone(), ours).default_backoff());
    let (mut seen, mut tasks) = (HashSet::new(), JoinSet::new());
    loop {
        tokio::select! {
            () = tail.lines.closed() => return,
            Some(_) = tasks.join_next() => {}
            change = changes.next() => match change {
                Some(Ok(Event::Apply(pod) | Event::InitApply(pod))) if has_begun(&pod) => {
                    let uid = pod.uid().unwrap_or_default();
                    if seen.contains(&uid) {
                        continue;
                    }
                    if tasks.len() >= FOLLOWED_MAX {
                        eprintln!("pod {} is left out: {FOLLOWED_MAX} are followed already", pod.name_any());
                        continue;
                    }
                    seen.insert(uid);
                    tasks.spawn(follow_pod(pods.clone(), pod, tail.clone()));
                }
                Some(Ok(Event::Delete(pod))) => {
                    seen.remove(&pod.uid().unwrap_or_default());
                }
                Some(Ok(_)) => {}
                Some(Err(watcher::Error::InitialListFailed(error))) if is_final(&error) => {
                    let _unread = tail.lines.send(Err(said(error))).await;
                    return;
                }
                // The watcher tries again.
                Some(Err(error)) => eprintln!("the API server breaks off: {error}"),
                None => return,
            },
        }
    }
}

/// Reads one pod's log until the pod has ended, from where it broke off when it does.
async fn follow_pod(pods: Api<Pod>, pod: Pod, tail: Tail) {
    let mut last = None;
    loop {
        match follow_once(&pods, &pod, &tail, &mut last).await {
            Ok(()) => {}
            Err(LogError::Api(error)) if is_final(&error) => {
                let error = said(error).context(format!("the log of pod {} cannot be read", pod.name_any()));
                let _unread = tail.lines.send(Err(error)).await;
                return;
            }
            Err(error) => eprintln!("the log of pod {} breaks off: {error}", pod.name_any()),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
        let now = pods.get_opt(&pod.name_any()).await;
        // Whether it is there is unknown while the API server is away.
        let gone = now.is_ok_and(|now| now.is_none_or(|now| now.uid() != pod.uid() || has_ended(&now)));
        if gone || tail.lines.is_closed() {
            return;
        }
    }
}

/// Why a log breaks off.
#[derive(Debug, thiserror::Error)]
enum LogError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Stream(#[from] std::io::Error),
}

async fn follow_once(pods: &Api<Pod>, pod: &Pod, tail: &Tail, last: &mut Option<Timestamp>) -> Result<(), LogError> {
    let mut parameters = LogParams { follow: true, limit_bytes: None, ..parameters(tail.count) };
    let mut resumed = *last;
    if resumed.is_some() {
        (parameters.since_time, parameters.tail_lines) = (resumed, None);
    }
    let stream = pods.log_stream(&pod.name_any(), &parameters).await?;
    let mut lines = std::pin::pin!(stream.lines());
    while let Some(text) = lines.try_next().await? {
        let (time, line) = line(pod, &text);
        // The API server begins with the whole second. Later lines may have equal times, and those of two streams cross.
        if resumed.is_some() && time.is_some() && time <= resumed {
            continue;
        }
        resumed = None;
        *last = time.or(*last);
        if tail.lines.send(Ok(line)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Before that the API server has no log of it.
fn has_begun(pod: &Pod) -> bool {
    let states = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let mut states = states.filter_map(|status| status.state.as_ref());
    states.any(|state| state.running.is_some() || state.terminated.is_some())
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// A line with its time; of both streams, for the API server does not tell them apart.
fn line(pod: &Pod, text: &str) -> (Option<Timestamp>, LogLine) {
    let timed = objects::timed(text);
    let (time, text) = timed.map_or((None, text), |(time, text)| (Some(time), text));
    let line = LogLine {
        unix_millis: objects::unix_millis(time.unwrap_or_else(Timestamp::now)),
        instance: pod.name_any(),
        revision: pod.labels().get(LABEL_REVISION).cloned().unwrap_or_default(),
        stream: Stream::Stdout,
        text: text.to_owned(),
    };
    (time, line)
}
