//! Times of day with a higher minimum: `{cron: "0 8 * * 1-5", timeZone: Europe/Berlin, min: 2, for: 10h}`.
//!
//! A cron expression means the wall clock of its time zone. Where the clock is put forward, a start that does not exist
//! moves to the same time after the gap; where it is put back, the first of both counts. `for` is true time.

use std::fmt;
use std::time::Duration;

use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The longest that a window stays open: longer ones are a `min`.
pub const LENGTH_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// The largest step that a clock is put back or forward by; it is one hour nearly everywhere.
const STEP_MAX: Duration = Duration::from_secs(3 * 3600);

/// Starts to look at around a step of the clock: one a minute, on both sides.
const STARTS_MAX: usize = 2 * 180 + 2;

/// A window of time, again and again, in which a revision has at least `min` instances.
#[derive(Clone)]
pub struct Window {
    cron: Cron,
    time_zone: TimeZone,
    /// The least number of instances while it is open.
    pub min: u32,
    /// How long it stays open from each start.
    pub length: Duration,
}

/// A schedule that cannot be followed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScheduleError {
    /// The cron expression is wrong.
    #[error("cron {cron:?} is not minute, hour, day of month, month, day of week: {cause}")]
    Cron {
        /// What was given.
        cron: String,
        /// What the parser says.
        cause: String,
    },
    /// The expression is well formed, but no day of any year matches it.
    #[error("cron {0:?} never comes: no date matches it")]
    Never(String),
    /// There is no such time zone.
    #[error("time zone {0:?} is unknown: give an IANA name such as Europe/Berlin")]
    TimeZone(String),
    /// The window opens for no time, or for too long.
    #[error("for is {0:?}, but must be more than nothing and at most {LENGTH_MAX:?}")]
    Length(Duration),
}

impl Window {
    /// The window that opens at `cron` in `time_zone`, for `length`, with at least `min` instances.
    ///
    /// # Errors
    /// When the expression, the time zone or the length is wrong.
    pub fn new(cron: &str, time_zone: &str, min: u32, length: Duration) -> Result<Self, ScheduleError> {
        if length.is_zero() || length > LENGTH_MAX {
            return Err(ScheduleError::Length(length));
        }
        let zone = TimeZone::get(time_zone).map_err(|_| ScheduleError::TimeZone(time_zone.to_owned()))?;
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parsed = parser
            .parse(cron)
            .map_err(|error| ScheduleError::Cron { cron: cron.to_owned(), cause: error.to_string() })?;
        let window = Self { cron: parsed, time_zone: zone, min, length };
        match window.start_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(window),
            None => Err(ScheduleError::Never(cron.to_owned())),
        }
    }

    /// Until when the window is open at `wall`, if it is.
    fn open_until(&self, wall: Timestamp) -> Option<Timestamp> {
        let end = self.start_up_to(wall)?.checked_add(self.length).ok()?;
        (wall < end).then_some(end)
    }

    /// The latest start at or before `wall`.
    fn start_up_to(&self, wall: Timestamp) -> Option<Timestamp> {
        let stepped = self.stepped_before(wall)?;
        let mut civil = naive(self.time_zone.to_datetime(wall))?.checked_add_signed(stepped)?.and_utc();
        for search in 0..STARTS_MAX {
            civil = self.cron.find_previous_occurrence(&civil, search == 0).ok()?;
            let start = self.instant(civil.naive_utc())?;
            if start <= wall {
                return Some(start);
            }
        }
        None
    }

    /// The first start after `wall`.
    fn start_after(&self, wall: Timestamp) -> Option<Timestamp> {
        let stepped = self.stepped_before(wall)?;
        let mut civil = naive(self.time_zone.to_datetime(wall))?.checked_sub_signed(stepped)?.and_utc();
        for _ in 0..STARTS_MAX {
            civil = self.cron.find_next_occurrence(&civil, false).ok()?;
            let start = self.instant(civil.naive_utc())?;
            if start > wall {
                return Some(start);
            }
        }
        None
    }

    /// How far around the wall clock to look for starts: where the clock was put back or forward shortly before, the order
    /// of starts is not the order of their wall clocks.
    fn stepped_before(&self, wall: Timestamp) -> Option<TimeDelta> {
        let before = wall.checked_sub(STEP_MAX).ok()?;
        let steady = self.time_zone.to_offset(before) == self.time_zone.to_offset(wall);
        if steady { Some(TimeDelta::zero()) } else { TimeDelta::from_std(STEP_MAX).ok() }
    }

    fn instant(&self, civil: NaiveDateTime) -> Option<Timestamp> {
        let date = jiff::civil::date(
            i16::try_from(civil.year()).ok()?,
            i8::try_from(civil.month()).ok()?,
            i8::try_from(civil.day()).ok()?,
        );
        let time = date.at(
            i8::try_from(civil.hour()).ok()?,
            i8::try_from(civil.minute()).ok()?,
            i8::try_from(civil.second()).ok()?,
            0,
        );
        self.time_zone.to_ambiguous_timestamp(time).compatible().ok()
    }
}

/// The least number of instances that `windows` ask for at `wall`: the highest of the open ones, or 0.
#[must_use]
pub fn effective_min(windows: &[Window], wall: Timestamp) -> u32 {
    windows.iter().filter(|window| window.open_until(wall).is_some()).map(|window| window.min).max().unwrap_or(0)
}

/// The next time after `wall` at which a window opens or closes.
#[must_use]
pub fn next_change(windows: &[Window], wall: Timestamp) -> Option<Timestamp> {
    windows.iter().flat_map(|window| [window.open_until(wall), window.start_after(wall)]).flatten().min()
}

/// croner counts in chrono's types. It is given wall clocks as if they were UTC, because jiff knows the time zones.
fn naive(civil: DateTime) -> Option<NaiveDateTime> {
    let part = |value: i8| u32::try_from(value).ok();
    NaiveDate::from_ymd_opt(i32::from(civil.year()), part(civil.month())?, part(civil.day())?)?.and_hms_opt(
        part(civil.hour())?,
        part(civil.minute())?,
        part(civil.second())?,
    )
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("cron", &self.cron.as_str())
            .field("time_zone", &self.time_zone.iana_name())
            .field("min", &self.min)
            .field("length", &self.length)
            .finish()
    }
}
