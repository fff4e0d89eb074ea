//! The scaling policy of a function.

use wisp_api::WasmFunctionSpec;
use wisp_api::scaling::Metric;
use wisp_scaling::Policy;

/// The scaling policy that a function's spec asks for.
#[must_use]
pub fn policy(spec: &WasmFunctionSpec) -> Policy {
    let scaling = &spec.scaling;
    Policy {
        min: scaling.min,
        max: scaling.max,
        activation: scaling.activation,
        initial: scaling.initial,
        metric: match scaling.metric {
            Metric::Concurrency => wisp_scaling::Metric::Concurrency,
            Metric::Rps => wisp_scaling::Metric::Rps,
            Metric::Cpu => wisp_scaling::Metric::Cpu,
        },
        target: scaling.effective_target(spec.concurrency.slots),
        slots: spec.concurrency.slots,
        window: scaling.window.into(),
        panic_window: scaling.panic_window.into(),
        panic_threshold: scaling.panic_threshold,
        scale_down_delay: scaling.scale_down_delay.into(),
        idle: scaling.idle.into(),
        max_up_rate: scaling.max_up_rate,
        max_down_rate: scaling.max_down_rate,
    }
}
