//! Events of Kubernetes on functions, of what only the autoscaler knows. Few: starts from zero and ends at zero are the life
//! of a function and not news, and of the rest each function has one of a kind in a minute at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use wisp_api::RevisionKey;

use super::actuator::lock;
use super::view::View;

/// News that wait to be written. What finds no place is left out: it is in the log too.
const NEWS_WAITING: usize = 64;
/// One of a kind for each function in this time.
const QUIET: Duration = Duration::from_secs(60);
/// One call of the API server.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The API server takes 1 KiB.
const NOTE_CHARS_MAX: usize = 250;

/// Takes news. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Announcer(mpsc::Sender<News>);

/// Something that users of a function look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// What its environment names is not there.
    CannotStart { revision: RevisionKey, why: String },
    /// It has another number of instances.
    Scaled { revision: RevisionKey, from: u32, to: u32 },
}

/// What was said lately, by function and kind.
#[derive(Debug, Default)]
struct Quiet(HashMap<(String, &'static str), Instant>);

/// An announcer, and what writes for it, to be run.
pub(crate) fn announcer(
    client: Client,
    identity: &str,
    view: Arc<Mutex<View>>,
    shutdown: CancellationToken,
) -> (Announcer, impl Future<Output = ()> + Send + use<>) {
    let (sender, news) = mpsc::channel(NEWS_WAITING);
    let reporter = Reporter { controller: "wisp-autoscaler".to_owned(), instance: Some(identity.to_owned()) };
    let recorder = Recorder::new(client, reporter);
    (Announcer(sender), serve(news, recorder, view, shutdown))
}

impl Announcer {
    /// Returns at once.
    pub(crate) fn announce(&self, news: News) {
        if is_news(&news)
            && let Err(error) = self.0.try_send(news)
        {
            tracing::debug!(%error, "an event is left out");
        }
    }
}

async fn serve(
    mut news: mpsc::Receiver<News>,
    recorder: Recorder,
    view: Arc<Mutex<View>>,
    shutdown: CancellationToken,
) {
    let mut quiet = Quiet::default();
    while let Some(Some(news)) = shutdown.run_until_cancelled(news.recv()).await {
        let Some(function) = lock(&view).function_of(news.revision()) else { continue };
        let event = event(&news);
        if !quiet.may_say(function.uid.clone().unwrap_or_default(), kind(&news), Instant::now()) {
            continue;
        }
        match timeout(CALL_TIMEOUT, recorder.publish(&event, &function)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(?news, %error, "an event cannot be written"),
            Err(_) => tracing::warn!(?news, "an event cannot be written: no answer in time"),
        }
    }
    // Cancelled, or nobody has news any more: both are the end of the process, which the others see.
    shutdown.cancelled().await;
}

impl News {
    fn revision(&self) -> &RevisionKey {
        match self {
            Self::CannotStart { revision, .. } | Self::Scaled { revision, .. } => revision,
        }
    }
}

fn is_news(news: &News) -> bool {
    match news {
        News::CannotStart { .. } => true,
        News::Scaled { from, to, .. } => from != to && *from > 0 && *to > 0,
    }
}

fn kind(news: &News) -> &'static str {
    match news {
        News::CannotStart { .. } => "SourceMissing",
        News::Scaled { .. } => "Scaled",
    }
}

fn event(news: &News) -> Event {
    let (type_, action, note) = match news {
        News::CannotStart { revision, why } => {
            (EventType::Warning, "Start".to_owned(), format!("{} cannot start: {why}", revision.name))
        }
        // The action has the number too: the recorder takes events of one action for repetitions of the first.
        News::Scaled { revision, from, to } => (
            EventType::Normal,
            format!("ScaleTo{to}"),
            format!("{} has {to} instances, after {from}; `wisp explain` says why", revision.name),
        ),
    };
    let note = Some(note.chars().take(NOTE_CHARS_MAX).collect());
    Event { type_, reason: kind(news).to_owned(), note, action, secondary: None }
}

impl Quiet {
    fn may_say(&mut self, function: String, kind: &'static str, now: Instant) -> bool {
        self.0.retain(|_, said| now.duration_since(*said) < QUIET);
        let place = self.0.entry((function, kind));
        let is_new = matches!(place, std::collections::hash_map::Entry::Vacant(_));
        place.or_insert(now);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(from: u32, to: u32) -> News {
        News::Scaled { revision: RevisionKey::new("shop", "cart-00001"), from, to }
    }

    #[test]
    fn zero_is_no_news_and_other_numbers_are() {
        for (news, from, to) in [(false, 0, 1), (false, 3, 0), (false, 2, 2), (true, 1, 5), (true, 5, 1)] {
            assert_eq!(is_news(&scaled(from, to)), news, "{from} to {to}");
        }
    }

    #[test]
    fn a_function_says_one_of_a_kind_in_a_minute() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        let mut may_say = |function: &str, kind, after| quiet.may_say(function.to_owned(), kind, now + after);
        assert!(may_say("a", "Scaled", Duration::ZERO));
        assert!(!may_say("a", "Scaled", QUIET / 2));
        assert!(may_say("a", "SourceMissing", QUIET / 2));
        assert!(may_say("b", "Scaled", QUIET / 2));
        assert!(may_say("a", "Scaled", QUIET));
        assert_eq!(quiet.0.len(), 3);
    }

    #[test]
    fn what_cannot_start_says_why_in_what_the_api_server_takes() {
        let revision = RevisionKey::new("shop", "cart-00001");
        let event = event(&News::CannotStart { revision, why: "é".repeat(2000) });
        assert_eq!((event.reason.as_str(), event.type_), ("SourceMissing", EventType::Warning));
        assert!(event.note.unwrap().len() <= 1024);
        assert_ne!(super::event(&scaled(1, 5)).action, super::event(&scaled(1, 6)).action);
    }
}
