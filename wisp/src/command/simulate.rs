//! `wisp simulate`.

use std::fmt::Write;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use wisp_scaling::simulation::{Model, Phase, Report, Trace, simulate};

use super::paint::Paint;
use super::reason::words;
use super::sparkline::sparkline;
use super::table::Table;
use super::{time, write_json, write_text};
use crate::cli::{Output, SimulateArgs};
use crate::up;

/// Characters of the sparkline: fits a terminal of 80 with its ends.
const SPARKLINE_WIDTH: u32 = 64;
/// Changes that are shown to people; programs get all of them.
const CHANGES_SHOWN: usize = 40;

/// Runs the scaling rules of a manifest on a trace.
pub(super) fn run(args: &SimulateArgs, output: Output) -> anyhow::Result<()> {
    let spec = up::manifest::read(&args.manifest)?.spec;
    let policy = wisp_autoscaler::policy(&spec);
    let trace = trace(&args.trace, args.seed)?;
    let model = Model {
        start: Duration::from_millis(args.start),
        service: Duration::from_millis(args.service),
        seed: args.seed,
        ..Model::default()
    };
    if !spec.scaling.schedule.is_empty() {
        eprintln!("note: the schedule of {} is left out, because a trace has no date", args.manifest.display());
    }
    let report = simulate(&policy, &model, &trace);
    match output {
        Output::Json => write_json(&serde_json::to_vec(&report)?)?,
        Output::Text => write_text(&text(&report))?,
    }
    Ok(())
}

/// A trace from phases, a file, or standard input.
fn trace(source: &Path, seed: u64) -> anyhow::Result<Trace> {
    if let Some(phases) = source.to_str().and_then(phases) {
        let trace = Trace::generate(&phases, seed);
        anyhow::ensure!(!trace.arrivals().is_empty(), "the phases {} have no requests", source.display());
        return Ok(trace);
    }
    let text = if source == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("cannot read the trace from standard input")?;
        text
    } else {
        fs::read_to_string(source).with_context(|| {
            format!("cannot read the trace {}; it is a file, or phases such as 5x60s,0x2m", source.display())
        })?
    };
    Trace::parse(&text, seed).with_context(|| source.display().to_string())
}

/// `RATExLENGTH`, separated by commas: `5x60s,0x2m` is a minute at five requests per second and two of silence.
fn phases(text: &str) -> Option<Vec<Phase>> {
    text.split(',').map(phase).collect()
}

fn phase(text: &str) -> Option<Phase> {
    let (rate, length) = text.split_once('x')?;
    let requests_per_second: f64 = rate.parse().ok()?;
    let length: wisp_api::Duration = length.parse().ok()?;
    if length.is_negative() {
        return None;
    }
    let length = Duration::from(length);
    let usable = requests_per_second.is_finite() && requests_per_second >= 0.0 && !length.is_zero();
    usable.then_some(Phase { requests_per_second, length })
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "replicas, 0 to {} over {}", report.peak_replicas, time::span(report.end_seconds));
    let _ = writeln!(out, "{}\n", sparkline(&highest_by_column(report)));
    changes(&mut out, report);
    let share = 100.0 * report.cold_starts as f64 / report.requests.max(1) as f64;
    let waits = &report.waits;
    let waited = [
        ("p50", waits.p50_seconds),
        ("p90", waits.p90_seconds),
        ("p99", waits.p99_seconds),
        ("max", waits.max_seconds),
    ];
    let waited: Vec<String> = waited.iter().map(|(name, seconds)| format!("{name} {}", time::span(*seconds))).collect();
    let fields = [
        ("Requests", format!("{}, {} answered", report.requests, report.served)),
        ("Cold starts", format!("{} ({share:.2} %)", report.cold_starts)),
        ("Waited", waited.join(", ")),
        ("Instances", format!("{} started, {:.3} instance-hours", report.instances_started, report.instance_hours)),
        ("Seed", report.seed.to_string()),
    ];
    for (name, value) in fields {
        let _ = writeln!(out, "{:<13}{value}", format!("{name}:"));
    }
    out
}

fn changes(out: &mut String, report: &Report) {
    let mut table = Table::new(["AT", "REPLICAS", "DEMAND", "WHY"]);
    for point in report.replicas.iter().take(CHANGES_SHOWN) {
        table.row([
            format!("{:.3}s", point.at_seconds).into(),
            point.replicas.to_string().into(),
            point.demand.to_string().into(),
            words(point.reason).into(),
        ]);
    }
    out.push_str(&table.render(Paint::Plain, ""));
    let more = report.replicas.len().saturating_sub(CHANGES_SHOWN);
    if more > 0 {
        let _ = writeln!(out, "… and {more} more changes; `--output json` has all of them");
    }
    out.push('\n');
}

/// The highest number of replicas in each column, so that no short burst is lost between two of them.
fn highest_by_column(report: &Report) -> Vec<u32> {
    let width = report.end_seconds / f64::from(SPARKLINE_WIDTH);
    (0..SPARKLINE_WIDTH)
        .map(|column| {
            let (begin, end) = (width * f64::from(column), width * f64::from(column + 1));
            let inside = report.replicas.iter().filter(|point| point.at_seconds >= begin && point.at_seconds < end);
            inside.map(|point| point.replicas).chain([report.replicas_at(begin)]).max().unwrap_or(0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use wisp_scaling::Policy;

    use super::*;

    #[test]
    fn phases_are_told_from_files() {
        let minute_then_silence = phases("5x60s,0x2m").unwrap();
        assert_eq!(minute_then_silence[0], Phase { requests_per_second: 5.0, length: Duration::from_secs(60) });
        assert_eq!(minute_then_silence[1], Phase { requests_per_second: 0.0, length: Duration::from_secs(120) });
        for file in ["trace.csv", "./5x60s", "5x", "x60s", "-5x60s", "5x-60s", "5x60s,", "NaNx1s"] {
            assert_eq!(phases(file), None, "{file}");
        }
    }

    #[test]
    fn a_report_says_what_a_policy_would_have_done() {
        let phases = phases("20x30s,0x60s,400x20s").unwrap();
        let report = simulate(&Policy::default(), &Model::default(), &Trace::generate(&phases, 7));
        let text = text(&report);
        for part in ["requests wait and no instance is ready", "Cold starts:", "p99", "instance-hours", "█", "·"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let highest = highest_by_column(&report).into_iter().max();
        assert_eq!(highest, Some(report.peak_replicas), "no burst is lost");
    }

    #[test]
    fn a_missing_trace_says_what_a_trace_is() {
        let error = format!("{:#}", trace(Path::new("/nonexistent/trace.csv"), 1).unwrap_err());
        assert!(error.contains("phases such as 5x60s,0x2m"), "{error}");
    }
}
