//! `wisp logs`.

use std::io::{self, Write};

use jiff::tz::TimeZone;

use super::paint::{Paint, Tone, printable};
use super::{lookup, time};
use crate::cli::{LogsArgs, Output};
use crate::source::Source;
use crate::view::{LogLine, Stream};

/// Prints what a function's instances wrote, until there is no more.
pub(super) async fn run(args: LogsArgs, source: &Source, output: Output) -> anyhow::Result<()> {
    let key = source.key(&args.function);
    let lines = source.logs(&key, args.tail, args.follow).await?;
    let mut lines = lookup::found(source, &key, lines).await?;
    let (paint, zone) = (Paint::of(&io::stdout()), TimeZone::system());
    while let Some(line) = lines.next().await? {
        let mut out = io::stdout().lock();
        match output {
            Output::Json => writeln!(out, "{}", serde_json::to_string(&line)?)?,
            Output::Text => writeln!(out, "{}", text(&line, paint, &zone))?,
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
