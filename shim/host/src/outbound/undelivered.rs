//! The body of a request that is not sent. Guests write it before they look at the answer: where it is dropped at once,
//! they see that the connection was reset and never learn why. So it is read on, within bounds, before the error is told.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, WasiBody};

/// Most bodies of calls are far smaller; a larger one is reset as if the server had done so.
const BYTES_MAX: u64 = 1 << 20;
/// A guest writes what it has within milliseconds. One that waits for the answer first is told after this time.
const WITHIN: Duration = Duration::from_secs(1);

/// Reads what is left of `body` and forgets it, for at most `left`.
pub(super) async fn discard(mut body: WasiBody, left: Duration) {
    let all = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            if bytes > BYTES_MAX {
                return;
            }
        }
    };
    // Whoever is slower or longer sees a reset.
    let _ = timeout(WITHIN.min(left), all).await;
}

/// A body that comes back when its request is given up.
pub(super) struct Lent {
    body: Option<WasiBody>,
    back: Option<oneshot::Sender<WasiBody>>,
}

impl Lent {
    /// The body to send, and where it comes back.
    pub(super) fn lend(body: WasiBody) -> (WasiBody, oneshot::Receiver<WasiBody>) {
        let (back, returned) = oneshot::channel();
        if body.is_end_stream() {
            return (body, returned);
        }
        (Self { body: Some(body), back: Some(back) }.boxed_unsync(), returned)
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            // Nobody waits for it where the request was sent.
            let _ = back.send(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{Full, StreamBody};

    use super::*;

    fn endless(frame: &'static [u8]) -> WasiBody {
        let frames = futures::stream::repeat_with(move || Ok::<_, Infallible>(Frame::data(Bytes::from_static(frame))));
        StreamBody::new(frames).map_err(|never| match never {}).boxed_unsync()
    }

    #[tokio::test(start_paused = true)]
    async fn reading_on_ends_by_bytes_and_by_time() {
        discard(endless(&[0; 4096]), Duration::MAX).await;
        let silent = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Error>>()).boxed_unsync();
        let began = tokio::time::Instant::now();
        discard(silent, Duration::MAX).await;
        assert_eq!(began.elapsed().as_secs(), WITHIN.as_secs());
    }

    #[tokio::test]
    async fn a_body_that_was_not_sent_comes_back() {
        let whole = Full::new(Bytes::from_static(b"text")).map_err(|never| match never {}).boxed_unsync();
        let (body, mut returned) = Lent::lend(whole);
        drop(body);
        let body = returned.try_recv().unwrap().unwrap();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "text");
    }
}
