//! The parameters of one revision's scaling, and what makes them valid.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The smallest target: below it, one request would ask for more than a hundred instances.
pub const TARGET_MIN: f64 = 0.01;

/// The longest averaging window and scale-down delay. Longer ones remember traffic that tells nothing about now.
pub const WINDOW_MAX: Duration = Duration::from_secs(3600);

/// The shortest panic window: a shorter one would see single requests, and not load.
pub const PANIC_WINDOW_MIN: Duration = Duration::from_millis(100);

/// The longest time without demand before the last instance goes.
pub const IDLE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The most instances one revision may have.
pub const REPLICAS_MAX: u32 = 100_000;

/// What is averaged and compared with the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Metric {
    /// Requests in flight plus requests waiting.
    Concurrency,
    /// Requests started per second.
    Rps,
    /// Busy share, in processors' worth of what one instance may use.
    Cpu,
}

/// How one revision scales. The names are those of `spec.scaling` of a `WasmFunction`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Never fewer instances than this. 0 allows scaling to zero.
    pub min: u32,
    /// Never more instances than this.
    pub max: u32,
    /// A number above zero is at least this.
    pub activation: u32,
    /// Instances before the first request, until they have been ready once.
    /// Pass 0 for a revision that has been there before, or a restart of the autoscaler starts it again.
    pub initial: u32,
    /// What is averaged.
    pub metric: Metric,
    /// What one instance should bear, in the metric's unit.
    pub target: f64,
    /// Requests at once in one instance.
    pub slots: u32,
    /// The stable window: the average over it sets the number.
    pub window: Duration,
    /// The panic window: the average over it notices a burst.
    pub panic_window: Duration,
    /// Panic begins when the burst asks for this many times the ready instances.
    pub panic_threshold: f64,
    /// The number falls only after the lower one has been wanted for this long.
    pub scale_down_delay: Duration,
    /// Time without any demand before the last instance goes.
    pub idle: Duration,
    /// One decision asks for at most this many times the ready instances.
    pub max_up_rate: f64,
    /// One decision keeps at least the ready instances divided by this.
    pub max_down_rate: f64,
}

/// One thing that is wrong with a [`Policy`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// A bound on the number of instances is out of its range.
    #[error("{field} is {value}, but must be between {least} and {most}")]
    Replicas {
        /// The field's name, as in `spec.scaling`.
        field: &'static str,
        /// What was given.
        value: u32,
        /// The least that is allowed.
        least: u32,
        /// The most that is allowed.
        most: u32,
    },
    /// A duration is out of its range.
    #[error("{field} is {value:?}, but must be between {least:?} and {most:?}")]
    Span {
        /// The field's name, as in `spec.scaling`.
        field: &'static str,
        /// What was given.
        value: Duration,
        /// The least that is allowed.
        least: Duration,
        /// The most that is allowed.
        most: Duration,
    },
    /// A number is too small, infinite, or not a number.
    #[error("{field} is {value}, but must be a number of at least {least}")]
    Number {
        /// The field's name, as in `spec.scaling`.
        field: &'static str,
        /// What was given.
        value: f64,
        /// The least that is allowed.
        least: f64,
    },
}

impl Default for Policy {
    /// The defaults of `spec.scaling`, with 100 slots.
    fn default() -> Self {
        Self {
            min: 0,
            max: 100,
            activation: 1,
            initial: 0,
            metric: Metric::Concurrency,
            target: 70.0,
            slots: 100,
            window: Duration::from_secs(60),
            panic_window: Duration::from_secs(6),
            panic_threshold: 2.0,
            scale_down_delay: Duration::ZERO,
            idle: Duration::from_secs(30),
            max_up_rate: 1000.0,
            max_down_rate: 2.0,
        }
    }
}

impl Policy {
    /// Gives the policy back when it can be decided with.
    ///
    /// # Errors
    /// Everything that is wrong, and not only the first.
    pub fn validate(self) -> Result<Self, Vec<PolicyError>> {
        let mut errors = Vec::new();
        self.check_replicas(&mut errors);
        self.check_spans(&mut errors);
        self.check_numbers(&mut errors);
        if errors.is_empty() { Ok(self) } else { Err(errors) }
    }

    fn check_replicas(&self, errors: &mut Vec<PolicyError>) {
        let ranges = [
            ("max", self.max, 1, REPLICAS_MAX),
            ("min", self.min, 0, self.max),
            ("activation", self.activation, 0, self.max),
            ("initial", self.initial, 0, self.max),
            ("slots", self.slots, 1, u32::MAX),
        ];
        for (field, value, least, most) in ranges {
            if value < least || value > most {
                errors.push(PolicyError::Replicas { field, value, least, most });
            }
        }
    }

    fn check_spans(&self, errors: &mut Vec<PolicyError>) {
        let ranges = [
            ("window", self.window, PANIC_WINDOW_MIN, WINDOW_MAX),
            ("panicWindow", self.panic_window, PANIC_WINDOW_MIN, self.window),
            ("scaleDownDelay", self.scale_down_delay, Duration::ZERO, WINDOW_MAX),
            ("idle", self.idle, Duration::from_millis(1), IDLE_MAX),
        ];
        for (field, value, least, most) in ranges {
            if value < least || value > most {
                errors.push(PolicyError::Span { field, value, least, most });
            }
        }
    }

    fn check_numbers(&self, errors: &mut Vec<PolicyError>) {
        // Rates of 1 would never move; 1.1 is the least panic threshold of Knative too.
        let leasts = [
            ("target", self.target, TARGET_MIN),
            ("panicThreshold", self.panic_threshold, 1.1),
            ("maxUpRate", self.max_up_rate, 1.01),
            ("maxDownRate", self.max_down_rate, 1.01),
        ];
        for (field, value, least) in leasts {
            if !value.is_finite() || value < least {
                errors.push(PolicyError::Number { field, value, least });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Policy::default().validate(), Ok(Policy::default()));
    }

    #[test]
    fn every_bad_value_is_named_at_once() {
        let bad = Policy {
            min: 101,
            panic_window: Duration::from_secs(61),
            target: f64::NAN,
            max_down_rate: 1.0,
            slots: 0,
            ..Policy::default()
        };
        let errors = bad.validate().unwrap_err();
        let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "min is 101, but must be between 0 and 100",
                "slots is 0, but must be between 1 and 4294967295",
                "panicWindow is 61s, but must be between 100ms and 60s",
                "target is NaN, but must be a number of at least 0.01",
                "maxDownRate is 1, but must be a number of at least 1.01",
            ]
        );
    }
}
