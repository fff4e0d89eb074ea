//! The request: path, query, body, and where the answer goes.

use wasip2::http::types::{IncomingBody, IncomingRequest, InputStream, ResponseOutparam};

/// One request, with the right to answer it.
pub struct Call {
    pub path: String,
    query: Vec<(String, String)>,
    pub request: IncomingRequest,
    pub out: ResponseOutparam,
}

impl Call {
    pub fn new(request: IncomingRequest, out: ResponseOutparam) -> Self {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v)));
        Self { path: path.to_owned(), query: query.collect(), request, out }
    }

    /// The first value of a query parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a query parameter, in order.
    pub fn params(&self, name: &str) -> Vec<String> {
        self.query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    /// A number from the query, or `default` where it is absent. Traps on what is not a number.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.param(name).map_or(default, |text| text.parse().expect("a number"))
    }

    /// The body's stream, with the body that must outlive it.
    pub fn body(&self) -> (IncomingBody, InputStream) {
        let body = self.request.consume().expect("the body is taken once");
        let stream = body.stream().expect("the stream is taken once");
        (body, stream)
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], escaped) {
            (b'%', Some(byte)) => {
                plain.push(byte);
                at += 2;
            }
            (b'+', _) => plain.push(b' '),
            (byte, _) => plain.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}
