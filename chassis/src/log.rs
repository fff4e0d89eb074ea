//! Logging to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people: one line each, in colour on a terminal unless `NO_COLOR` is set.
    #[default]
    Text,
    /// For machines: one JSON object each.
    Json,
}

/// Starts logging at `info`, or as the `WISP_LOG` environment variable says in `tracing`'s filter syntax. Only the
/// first call of a process has an effect.
pub fn init(format: Format) {
    let filter = EnvFilter::try_from_env("WISP_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // An error means that somebody set up logging before, as tests do: theirs stays.
    let _earlier_wins = match format {
        Format::Text => builder.with_target(false).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
}
