//! The answer: headers first, then as much body as the client takes, then trailers.

use wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse, OutputStream, ResponseOutparam};
use wasip2::io::streams::StreamError;

use crate::request::Call;

/// A response whose headers have been sent.
pub struct Reply {
    pub stream: OutputStream,
    body: OutgoingBody,
}

impl Reply {
    pub fn start(out: ResponseOutparam, status: u16, headers: Fields) -> Self {
        let response = OutgoingResponse::new(headers);
        response.set_status_code(status).expect("a valid status");
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("the stream is taken once");
        Self { stream, body }
    }

    /// Writes all bytes, waiting for room; an error means that the client has gone.
    pub fn write(&self, mut bytes: &[u8]) -> Result<(), StreamError> {
        let room = self.stream.subscribe();
        while !bytes.is_empty() {
            room.block();
            let permit = usize::try_from(self.stream.check_write()?).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(permit.min(bytes.len()));
            self.stream.write(now)?;
            bytes = later;
        }
        Ok(())
    }

    /// Sends what has been written so far.
    pub fn flush(&self) -> Result<(), StreamError> {
        self.stream.blocking_flush()
    }

    pub fn finish(self, trailers: Option<Fields>) {
        let _client_gone = self.flush();
        drop(self.stream);
        // An error means that the client has gone, which is nobody's fault here.
        let _client_gone = OutgoingBody::finish(self.body, trailers);
    }
}

impl Call {
    pub fn text(self, status: u16, body: &str) {
        self.whole(status, "text/plain", body);
    }

    pub fn json(self, body: &str) {
        self.whole(200, "application/json", body);
    }

    fn whole(self, status: u16, content_type: &str, body: &str) {
        let reply = Reply::start(self.out, status, fields(&[("content-type", content_type)]));
        let _client_gone = reply.write(body.as_bytes());
        reply.finish(None);
    }
}

pub fn fields(pairs: &[(&str, &str)]) -> Fields {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    Fields::from_list(&pairs).expect("valid header names and values")
}
