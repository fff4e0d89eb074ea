//! `wisp logs`.

use std::io::{self, Write};

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use jiff::tz::TimeZone;

use super::paint::{Paint, Tone, printable};
use super::{lookup, time};
use crate::cli::{LogsArgs, Output};
use crate::client::{Admin, Answer, ClientError};
use crate::view::{LogLine, Stream};

/// Prints what a function's instances wrote, until the server has no more.
pub(super) async fn run(args: LogsArgs, admin: Admin, output: Output) -> anyhow::Result<()> {
    let path = format!("{}/logs?tail={}&follow={}", lookup::path(&args.function), args.tail, args.follow);
    let answer = lookup::found(admin, &args.function, admin.stream(&path).await).await?;
    let mut lines = Lines { answer, buffered: BytesMut::new() };
    let (paint, zone) = (Paint::of(&io::stdout()), TimeZone::system());
    while let Some(line) = lines.next().await? {
        let mut out = io::stdout().lock();
        match output {
            Output::Json => out.write_all(&line)?,
            Output::Text => writeln!(out, "{}", text(&admin.parse(&line)?, paint, &zone))?,
        }
        out.flush()?;
    }
    Ok(())
}

fn text(line: &LogLine, paint: Paint, zone: &TimeZone) -> String {
    let clock = paint.tone(&time::clock(line.unix_millis, zone), Tone::Quiet);
    let instance = paint.tone(&printable(&line.instance), Tone::Quiet);
    let tone = match line.stream {
        Stream::Stdout => Tone::Normal,
        Stream::Stderr => Tone::Pending,
    };
    format!("{clock} {instance} {}", paint.tone(&printable(&line.text), tone))
}

/// Newline-delimited JSON as it comes.
struct Lines {
    answer: Answer,
    buffered: BytesMut,
}

impl Lines {
    /// The next line with its end.
    async fn next(&mut self) -> Result<Option<BytesMut>, ClientError> {
        let mut searched = 0;
        loop {
            let end = self.buffered[searched..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                return Ok(Some(self.buffered.split_to(searched + end + 1)));
            }
            searched = self.buffered.len();
            let address = self.answer.address;
            match self.answer.response.body_mut().frame().await {
                Some(Ok(frame)) => {
                    if let Ok(mut data) = frame.into_data() {
                        self.buffered.extend_from_slice(&data.copy_to_bytes(data.remaining()));
                    }
                }
                Some(Err(source)) => return Err(ClientError::Broken { address, source }),
                // Half a line at the end is a line of nobody.
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_and_who() {
        let line = LogLine {
            unix_millis: 1_764_000_000_125,
            instance: "w-7".to_owned(),
            revision: "hello-00001".to_owned(),
            stream: Stream::Stderr,
            text: "took \x1b[2Jlong".to_owned(),
        };
        assert_eq!(text(&line, Paint::Plain, &TimeZone::UTC), "16:00:00.125 w-7 took \\u{1b}[2Jlong");
    }
}
