//! The time between the word that this activator will go and the order to drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{CONNECTION, HeaderValue};
use http::{Response, Version};

/// Whether clients should come again elsewhere. An idle connection cannot be closed without a loss: its client may be
/// sending a request at that moment. So each is closed with an answer, as long as there are any.
#[derive(Clone, Debug, Default)]
pub struct Leaving(Arc<AtomicBool>);

impl Leaving {
    /// From now on, each answer over HTTP/1.1 is its connection's last. HTTP/2 has a frame for that, sent when draining.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Marks `answer` to a request of `version` as the last of its connection, when it is.
    pub(crate) fn mark<B>(&self, version: Version, answer: &mut Response<B>) {
        if version <= Version::HTTP_11 && self.0.load(Ordering::Relaxed) {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}
