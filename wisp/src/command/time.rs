//! Ages and times as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Now, in milliseconds since the Unix epoch.
pub(super) fn unix_millis_now() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// A span in at most two units, as kubectl rounds it.
pub(super) fn age(seconds: u64) -> String {
    let two = |big: u64, big_unit: &str, rest: u64, unit: &str| match rest {
        0 => format!("{big}{big_unit}"),
        rest => format!("{big}{big_unit}{rest}{unit}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds / MINUTE, "m", seconds % MINUTE, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(seconds / HOUR, "h", seconds % HOUR / MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        _ => two(seconds / (365 * DAY), "y", seconds / DAY % 365, "d"),
    }
}

/// The age at `now` of what happened `then`, both in milliseconds since the Unix epoch.
pub(super) fn age_between(then_unix_millis: u64, now_unix_millis: u64) -> String {
    age(now_unix_millis.saturating_sub(then_unix_millis) / 1000)
}

/// The time of day, such as `09:30:00.125`.
pub(super) fn clock(unix_millis: u64, zone: &TimeZone) -> String {
    let timestamp = i64::try_from(unix_millis).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    match timestamp {
        Some(timestamp) => timestamp.to_zoned(zone.clone()).strftime("%H:%M:%S%.3f").to_string(),
        None => "-".to_owned(),
    }
}

/// A span in seconds with a unit that suits it: `850 µs`, `3.2 ms`, `1.50 s`, `12m`.
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        seconds if seconds <= 0.0 => "0".to_owned(),
        seconds if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds if seconds < 120.0 => format!("{seconds:.2} s"),
        seconds => age(seconds as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_at_most_two_units() {
        let table = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (312, "5m12s"),
            (600, "10m"),
            (10_799, "179m"),
            (11_520, "3h12m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (183_600, "2d3h"),
            (8 * DAY, "8d"),
            (800 * DAY, "2y70d"),
        ];
        for (seconds, text) in table {
            assert_eq!(age(seconds), text, "{seconds}");
        }
        assert_eq!(age_between(10_000, 5_000), "0s", "clocks may differ");
    }

    #[test]
    fn times_of_day_have_milliseconds() {
        assert_eq!(clock(1_764_000_000_125, &TimeZone::UTC), "16:00:00.125");
        assert_eq!(clock(u64::MAX, &TimeZone::UTC), "-");
    }

    #[test]
    fn spans_choose_their_unit() {
        let table = [(0.0, "0"), (0.00085, "850 µs"), (0.0032, "3.2 ms"), (1.5, "1.50 s"), (720.0, "12m")];
        for (seconds, text) in table {
            assert_eq!(span(seconds), text, "{seconds}");
        }
    }
}
