//! `wisp invoke`.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;
use futures::stream;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::lookup;
use super::paint::{Paint, Tone, printable};
use crate::cli::InvokeArgs;
use crate::client::{Answer, RequestBody};
use crate::source::Source;
use crate::view::Detail;

/// The exit code when the function answers with a status of 400 or more, as `curl --fail` has it.
const EXIT_REFUSED: u8 = 22;
/// How much of a file is read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Sends one request and prints the answer.
pub(super) async fn run(args: InvokeArgs, source: &Source) -> anyhow::Result<ExitCode> {
    let detail: Detail = source.parse(&lookup::detail(source, &source.key(&args.function)).await?)?;
    let function = &detail.function;
    anyhow::ensure!(!function.url.is_empty(), "{} has no URL yet: {}", function.name, function.message);
    let request = request(&args, &function.url).await?;
    let answer = source.send(request).await?;
    let status = answer.response.status();
    print(answer, args.include).await?;
    let refused = status.is_client_error() || status.is_server_error();
    Ok(if refused { ExitCode::from(EXIT_REFUSED) } else { ExitCode::SUCCESS })
}

async fn request(args: &InvokeArgs, url: &str) -> anyhow::Result<Request<RequestBody>> {
    let url: Uri = url.parse().with_context(|| format!("the function's URL {url:?}"))?;
    let host = url.authority().with_context(|| format!("the function's URL {url} has no host"))?.as_str();
    let path = args.path.as_deref().unwrap_or(url.path());
    anyhow::ensure!(path.starts_with('/'), "the path {path:?} does not begin with a slash");
    let method = match (&args.method, &args.data) {
        (Some(method), _) => Method::from_bytes(method.as_bytes()).with_context(|| format!("the method {method:?}"))?,
        (None, Some(_)) => Method::POST,
        (None, None) => Method::GET,
    };
    let mut request = Request::builder().method(method).uri(path).body(body("").await?.content);
    if let (Ok(request), Some(data)) = (&mut request, &args.data) {
        let body = body(data).await?;
        if let Some(length) = body.length {
            request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        *request.body_mut() = body.content;
    }
    let mut request = request.with_context(|| format!("the path {path:?}"))?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(host)?);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("wisp/", env!("CARGO_PKG_VERSION"))));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    let mut given = HeaderMap::new();
    for text in &args.header {
        let (name, value) = parse_header(text)?;
        given.append(name, value);
    }
    headers.extend(given);
    Ok(request)
}

fn parse_header(text: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let (name, value) =
        text.split_once(':').with_context(|| format!("the header {text:?} is not of the form `name: value`"))?;
    let name = name.trim().parse().with_context(|| format!("the name of the header {text:?}"))?;
    let value = value.trim().parse().with_context(|| format!("the value of the header {text:?}"))?;
    Ok((name, value))
}

/// What is sent, and how long it is where that is known.
struct Data {
    content: RequestBody,
    length: Option<u64>,
}

async fn body(data: &str) -> anyhow::Result<Data> {
    let Some(file) = data.strip_prefix('@') else {
        let content = Full::new(Bytes::copy_from_slice(data.as_bytes())).map_err(|never| match never {}).boxed();
        return Ok(Data { content, length: None });
    };
    if file == "-" {
        return Ok(Data { content: chunks(tokio::io::stdin()), length: None });
    }
    let open = async {
        let opened = tokio::fs::File::open(file).await?;
        let metadata = opened.metadata().await?;
        io::Result::Ok((opened, metadata))
    };
    let (opened, metadata) = open.await.with_context(|| format!("cannot read {file}"))?;
    // Pipes and devices have no length.
    let length = metadata.is_file().then_some(metadata.len());
    Ok(Data { content: chunks(opened), length })
}

fn chunks(reader: impl AsyncRead + Send + Sync + Unpin + 'static) -> RequestBody {
    let frames = stream::unfold(reader, |mut reader| async {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        match reader.read_buf(&mut chunk).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(Frame::data(Bytes::from(chunk))), reader)),
            Err(error) => Some((Err(error), reader)),
        }
    });
    BodyExt::boxed(StreamBody::new(frames))
}

/// The body goes to standard output as it comes; all else to standard error, so that pipes get the body alone.
async fn print(mut answer: Answer, include: bool) -> anyhow::Result<()> {
    let paint = Paint::of(&io::stderr());
    if include {
        eprint!("{}", head(&answer.response, paint));
    }
    while let Some(frame) = answer.response.body_mut().frame().await {
        let frame = frame.map_err(|error| answer.broken(error))?;
        match frame.into_data() {
            Ok(data) => {
                let mut out = io::stdout().lock();
                out.write_all(&data)?;
                out.flush()?;
            }
            Err(frame) if include => {
                eprint!("{}", frame.trailers_ref().map(|trailers| fields(trailers, paint)).unwrap_or_default());
            }
            Err(_) => {}
        }
    }
    Ok(())
}

fn head<B>(response: &Response<B>, paint: Paint) -> String {
    let status = response.status();
    let tone = if status.as_u16() < 400 { Tone::Good } else { Tone::Bad };
    let mut out = format!("{}\n{}", paint.tone(&status.to_string(), tone), fields(response.headers(), paint));
    for value in response.headers().get_all("server-timing") {
        for line in timing(&String::from_utf8_lossy(value.as_bytes())) {
            out.push_str(&paint.tone(&printable(&line), Tone::Quiet));
            out.push('\n');
        }
    }
    out.push('\n');
    out
}

fn fields(headers: &HeaderMap, paint: Paint) -> String {
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = printable(&String::from_utf8_lossy(value.as_bytes()));
        format!("{}: {value}\n", paint.tone(name.as_str(), Tone::Strong))
    };
    headers.iter().map(field).collect()
}

/// `Server-Timing` in words: `queue;dur=1.5` is `  1.5 ms waiting for a slot`.
fn timing(header: &str) -> Vec<String> {
    let metric = |metric: &str| {
        let mut parts = metric.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_owned();
        let millis = parts.find_map(|part| part.strip_prefix("dur="))?;
        let words = match name.as_str() {
            "queue" => "waiting for a slot",
            "start" => "waiting for an instance to start",
            "exec" => "until the instance's answer began",
            "instantiate" => "making the wasm instance",
            other => other,
        };
        Some(format!("  {millis} ms {words}"))
    };
    header.split(',').filter_map(metric).collect()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::cli::FunctionArgs;

    fn args() -> InvokeArgs {
        InvokeArgs {
            function: FunctionArgs { name: "hello".to_owned(), namespace: None },
            path: None,
            method: None,
            data: None,
            header: Vec::new(),
            include: false,
        }
    }

    #[tokio::test]
    async fn the_url_gives_host_and_path() {
        let sent = request(&args(), "http://hello.default.localhost:8080/api").await.unwrap();
        assert_eq!((sent.method(), sent.uri().to_string().as_str()), (&Method::GET, "/api"));
        assert_eq!(sent.headers()[header::HOST], "hello.default.localhost:8080");
    }

    #[tokio::test]
    async fn arguments_win_over_defaults() {
        let given = InvokeArgs {
            path: Some("/other?x=1".to_owned()),
            data: Some("hi".to_owned()),
            header: vec!["Host: elsewhere".to_owned(), "x-a: 1".to_owned(), "x-a: 2".to_owned()],
            ..args()
        };
        let sent = request(&given, "http://hello.default.localhost:8080").await.unwrap();
        assert_eq!((sent.method(), sent.uri().to_string().as_str()), (&Method::POST, "/other?x=1"));
        assert_eq!(sent.headers()[header::HOST], "elsewhere");
        assert_eq!(sent.headers().get_all("x-a").iter().count(), 2);
        assert_eq!(sent.into_body().collect().await.unwrap().to_bytes(), "hi");
    }

    #[tokio::test]
    async fn a_file_is_sent_with_its_length() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[7; 100_000]).unwrap();
        let given = InvokeArgs { data: Some(format!("@{}", file.path().display())), ..args() };
        let sent = request(&given, "http://hello.default.localhost:8080").await.unwrap();
        assert_eq!(sent.headers()[header::CONTENT_LENGTH], "100000");
        assert_eq!(sent.into_body().collect().await.unwrap().to_bytes(), vec![7; 100_000]);
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_named() {
        let table = [
            (InvokeArgs { path: Some("x".to_owned()), ..args() }, "the path \"x\" does not begin with a slash"),
            (
                InvokeArgs { header: vec!["x".to_owned()], ..args() },
                "the header \"x\" is not of the form `name: value`",
            ),
            (InvokeArgs { data: Some("@/nonexistent".to_owned()), ..args() }, "cannot read /nonexistent"),
            (InvokeArgs { method: Some("A B".to_owned()), ..args() }, "the method \"A B\""),
        ];
        for (given, message) in table {
            let error = request(&given, "http://hello.default.localhost:8080").await.unwrap_err();
            assert!(error.to_string().starts_with(message), "{error}");
        }
    }

    #[test]
    fn server_timing_is_put_into_words() {
        let response = Response::builder()
            .status(StatusCode::OK)
            .header("server-timing", "queue;dur=3.2, start;dur=2.9, exec;dur=0.4")
            .header("server-timing", "db;desc=\"x\";dur=1, nothing")
            .body(())
            .unwrap();
        let text = head(&response, Paint::Plain);
        let words = "  3.2 ms waiting for a slot\n  2.9 ms waiting for an instance to start\n  0.4 ms until the instance's answer began\n  1 ms db\n";
        assert!(text.starts_with("200 OK\nserver-timing: queue") && text.contains(words), "{text}");
    }
}
