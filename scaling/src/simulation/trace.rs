//! When requests arrive.

use std::time::Duration;

/// The most arrivals in a trace: each costs eight bytes and some hundred nanoseconds, several times.
pub const ARRIVALS_MAX: usize = 10_000_000;

/// The latest time in a trace, in seconds: a year.
const TIME_MAX_SECONDS: f64 = 366.0 * 24.0 * 3600.0;

/// Arrivals of requests, in order, since the beginning of the trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    arrivals: Vec<Duration>,
}

/// A time of steady traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// Mean rate of arrivals, per second. 0 is silence.
    pub requests_per_second: f64,
    /// How long it lasts.
    pub length: Duration,
}

/// A trace that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TraceError {
    /// A line is neither a time nor a time and a number of requests.
    #[error("line {line}: {text:?} is not `time_seconds,requests`, nor a single time in seconds")]
    Line {
        /// The line's number, from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// Times with numbers of requests must rise, because each number is spread up to the next time.
    #[error("line {line}: its time is not after the one of the line before")]
    Order {
        /// The line's number, from 1.
        line: usize,
    },
    /// The trace is too long to be simulated.
    #[error("line {line}: more than {ARRIVALS_MAX} requests; simulate a part of the trace")]
    TooMany {
        /// The line's number, from 1.
        line: usize,
    },
    /// The trace spans more than a year.
    #[error("line {line}: more than a year after the first; is the time in seconds?")]
    TooLate {
        /// The line's number, from 1.
        line: usize,
    },
    /// There are no requests.
    #[error("the trace has no requests")]
    Empty,
}

/// A line that counts: its number, its time, and its number of requests if it has one.
struct Row {
    line: usize,
    seconds: f64,
    requests: Option<usize>,
}

impl Trace {
    /// Reads a trace. Each line is `time_seconds,requests`, where the requests are spread at random up to the next line's time;
    /// or one arrival time in seconds. A heading, blank lines and lines that begin with `#` are passed over. Times may count
    /// from any origin, such as 1970: the first one is the beginning.
    ///
    /// # Errors
    /// When a line is malformed, out of order, or too much.
    pub fn parse(text: &str, seed: u64) -> Result<Self, TraceError> {
        let rows = rows(text)?;
        let mut arrivals = match rows.first() {
            Some(Row { requests: Some(_), .. }) => spread(&rows, seed)?,
            Some(_) => timestamps(&rows)?,
            None => Vec::new(),
        };
        if arrivals.is_empty() {
            return Err(TraceError::Empty);
        }
        arrivals.sort_unstable();
        Ok(Self { arrivals })
    }

    /// Poisson arrivals, one phase after the other. Stops at [`ARRIVALS_MAX`].
    #[must_use]
    pub fn generate(phases: &[Phase], seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut arrivals = Vec::new();
        let mut begin = Duration::ZERO;
        for phase in phases {
            let end = begin + phase.length;
            let mut at = begin;
            while phase.requests_per_second > 0.0 && arrivals.len() < ARRIVALS_MAX {
                at += exponential(&mut random, Duration::from_secs_f64(1.0 / phase.requests_per_second));
                if at >= end {
                    break;
                }
                arrivals.push(at);
            }
            begin = end;
        }
        Self { arrivals }
    }

    /// The arrivals, in order.
    #[must_use]
    pub fn arrivals(&self) -> &[Duration] {
        &self.arrivals
    }
}

impl FromIterator<Duration> for Trace {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut arrivals: Vec<Duration> = times.into_iter().take(ARRIVALS_MAX).collect();
        arrivals.sort_unstable();
        Self { arrivals }
    }
}

/// An exponentially distributed time.
pub(super) fn exponential(random: &mut fastrand::Rng, mean: Duration) -> Duration {
    mean.mul_f64(-(1.0 - random.f64()).ln())
}

fn rows(text: &str) -> Result<Vec<Row>, TraceError> {
    let mut rows = Vec::new();
    let mut heading_allowed = true;
    for (index, raw) in text.lines().enumerate() {
        let trimmed = raw.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        match row(index + 1, trimmed) {
            Some(row) if rows.first().is_none_or(|first: &Row| first.requests.is_some() == row.requests.is_some()) => {
                rows.push(row);
            }
            None if heading_allowed && trimmed.starts_with(char::is_alphabetic) => {}
            _ => return Err(TraceError::Line { line: index + 1, text: trimmed.chars().take(80).collect() }),
        }
        heading_allowed = false;
    }
    Ok(rows)
}

fn row(line: usize, text: &str) -> Option<Row> {
    let (seconds, requests) = match text.split_once(',') {
        Some((seconds, requests)) => (seconds, Some(requests.trim().parse().ok()?)),
        None => (text, None),
    };
    let seconds: f64 = seconds.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some(Row { line, seconds, requests })
}

fn timestamps(rows: &[Row]) -> Result<Vec<Duration>, TraceError> {
    let first = rows.iter().map(|row| row.seconds).fold(f64::INFINITY, f64::min);
    if let Some(row) = rows.get(ARRIVALS_MAX) {
        return Err(TraceError::TooMany { line: row.line });
    }
    rows.iter().map(|row| since(first, row)).collect()
}

fn spread(rows: &[Row], seed: u64) -> Result<Vec<Duration>, TraceError> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut arrivals = Vec::new();
    // The last line has no next one: it lasts as long as the one before it, or a second.
    let mut length = 1.0;
    for (index, row) in rows.iter().enumerate() {
        let begin = since(rows[0].seconds, row)?;
        if let Some(next) = rows.get(index + 1) {
            if next.seconds <= row.seconds {
                return Err(TraceError::Order { line: next.line });
            }
            length = next.seconds - row.seconds;
        }
        let requests = row.requests.unwrap_or(0);
        if requests > ARRIVALS_MAX - arrivals.len() {
            return Err(TraceError::TooMany { line: row.line });
        }
        arrivals.extend(
            (0..requests).map(|_| begin + Duration::from_secs_f64(length.min(TIME_MAX_SECONDS) * random.f64())),
        );
    }
    Ok(arrivals)
}

fn since(first: f64, row: &Row) -> Result<Duration, TraceError> {
    let seconds = (row.seconds - first).max(0.0);
    if seconds > TIME_MAX_SECONDS {
        return Err(TraceError::TooLate { line: row.line });
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_spread_up_to_the_next_line() {
        let trace = Trace::parse("time_seconds,requests\n# morning\n100,3\n110,0\n\n120,2\n", 7).unwrap();
        let seconds: Vec<u64> = trace.arrivals().iter().map(Duration::as_secs).collect();
        assert_eq!(seconds.len(), 5);
        assert!(
            seconds[..3].iter().all(|at| *at < 10) && seconds[3..].iter().all(|at| (20..30).contains(at)),
            "{seconds:?}"
        );
    }

    #[test]
    fn single_times_are_arrivals_since_the_first() {
        let trace = Trace::parse("1764000000.5\n1764000002\n1764000001\n", 7).unwrap();
        assert_eq!(trace.arrivals(), [0, 500, 1500].map(Duration::from_millis));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let table = [
            ("", "the trace has no requests"),
            ("time_seconds,requests\n", "the trace has no requests"),
            ("1,2\nx,3", "line 2: \"x,3\" is not `time_seconds,requests`, nor a single time in seconds"),
            ("1,2\n5", "line 2: \"5\" is not `time_seconds,requests`, nor a single time in seconds"),
            ("-1,2", "line 1: \"-1,2\" is not `time_seconds,requests`, nor a single time in seconds"),
            ("2,1\n2,1", "line 2: its time is not after the one of the line before"),
            ("1,99999999", "line 1: more than 10000000 requests; simulate a part of the trace"),
            ("1,1\n1e300,1", "line 2: more than a year after the first; is the time in seconds?"),
        ];
        for (text, message) in table {
            assert_eq!(Trace::parse(text, 1).unwrap_err().to_string(), message, "{text:?}");
        }
    }
}
