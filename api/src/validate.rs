//! The rules that a manifest must keep, checked before anything runs. The CRD holds most of them too, as schema and
//! CEL, so that a cluster refuses at `kubectl apply`; this is the whole list, for both modes.

use std::collections::BTreeSet;
use std::fmt;
use std::time;

use crate::function::{Component, Mount, Volume, WasmFunctionSpec};
use crate::ingress::TrafficTarget;
use crate::scaling::Scaling;

/// Longest request that may be asked for. A pod's grace period must cover it.
pub const TIMEOUT_MAX: time::Duration = time::Duration::from_secs(3600);

/// Where a function is to run: a few fields make sense in one place only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A Kubernetes cluster.
    Cluster,
    /// `wisp up`.
    Embedded,
}

/// A rule that a manifest breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field's path, such as `spec.scaling.max`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Every rule that `spec` of a function called `name` breaks; empty when it may run.
#[must_use]
pub fn validate(name: &str, spec: &WasmFunctionSpec, target: Target) -> Vec<Problem> {
    let mut problems = Problems(Vec::new());
    problems.check_name(name);
    problems.check_component(&spec.component, target);
    problems.check_volumes(&spec.volumes, &spec.mounts, target);
    problems.check_limits(spec);
    problems.check_scaling(&spec.scaling, spec.concurrency.slots);
    problems.check_traffic(&spec.traffic);
    problems.check_hosts(&spec.ingress.hosts, &spec.ingress.path);
    problems.0
}

/// Every rule that a component breaks by itself.
#[must_use]
pub fn validate_component(component: &Component, target: Target) -> Vec<Problem> {
    let mut problems = Problems(Vec::new());
    problems.check_component(component, target);
    problems.0
}

/// Whether `text` is a DNS label of at most `max` characters, as Kubernetes names are.
#[must_use]
pub fn is_dns_label(text: &str, max: usize) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.len() <= max && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { path: path.into(), message: message.into() });
    }

    fn require(&mut self, holds: bool, path: &str, message: &str) {
        if !holds {
            self.add(path, message);
        }
    }

    // A revision's name adds `-00001`, a tag's host adds the tag: 50 leaves room for both within a DNS label.
    fn check_name(&mut self, name: &str) {
        let message = "must be lower-case letters, digits and '-', begin and end with a letter or digit, and have at \
                       most 50 characters";
        self.require(is_dns_label(name, 50), "metadata.name", message);
    }

    fn check_component(&mut self, component: &Component, target: Target) {
        let sources = [&component.image, &component.url, &component.path];
        let count = sources.iter().filter(|source| source.is_some()).count();
        self.require(count == 1, "spec.component", "give exactly one of image, url and path");
        if component.path.is_some() && target == Target::Cluster {
            self.add("spec.component.path", "a cluster cannot read your files; push the component and give its image");
        }
        if component.url.is_some() && component.sha256.is_none() {
            self.add("spec.component.sha256", "is required with url, so that what runs is what you meant");
        }
        if let Some(url) = &component.url
            && !url.starts_with("https://")
            && !url.starts_with("http://")
        {
            self.add("spec.component.url", "must begin with https:// or http://");
        }
        if let Some(digest) = &component.sha256 {
            let hex = digest.len() == 64 && digest.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
            self.require(hex, "spec.component.sha256", "must be 64 lower-case hex digits, as sha256sum prints them");
        }
    }

    fn check_volumes(&mut self, volumes: &[Volume], mounts: &[Mount], target: Target) {
        let mut names = BTreeSet::new();
        for (index, volume) in volumes.iter().enumerate() {
            let path = format!("spec.volumes[{index}]");
            if !names.insert(volume.name.as_str()) {
                self.add(format!("{path}.name"), format!("{:?} is used twice", volume.name));
            }
            let kinds = [
                volume.config_map.is_some(),
                volume.secret.is_some(),
                volume.persistent_volume_claim.is_some(),
                volume.empty_dir.is_some(),
                volume.host_path.is_some(),
            ];
            if kinds.into_iter().filter(|set| *set).count() != 1 {
                self.add(&path, "give exactly one of configMap, secret, persistentVolumeClaim, emptyDir and hostPath");
            }
            match target {
                Target::Cluster if volume.host_path.is_some() => {
                    self.add(format!("{path}.hostPath"), "only `wisp up` has it; use a ConfigMap or a claim");
                }
                Target::Embedded if volume.persistent_volume_claim.is_some() => {
                    self.add(format!("{path}.persistentVolumeClaim"), "only a cluster has claims; use hostPath");
                }
                _ => {}
            }
        }
        for (index, mount) in mounts.iter().enumerate() {
            let path = format!("spec.mounts[{index}]");
            if !names.contains(mount.name.as_str()) {
                self.add(format!("{path}.name"), format!("there is no volume called {:?}", mount.name));
            }
            if !mount.mount_path.starts_with('/') {
                self.add(format!("{path}.mountPath"), "must be absolute");
            }
        }
    }

    fn check_limits(&mut self, spec: &WasmFunctionSpec) {
        let limits = &spec.limits;
        let timeout = time::Duration::from(limits.timeout);
        let positive = !limits.timeout.is_negative() && timeout > time::Duration::ZERO;
        self.require(positive && timeout <= TIMEOUT_MAX, "spec.limits.timeout", "must be more than 0 and at most 1h");
        let cpu = time::Duration::from(limits.cpu_time);
        let positive = !limits.cpu_time.is_negative() && cpu >= time::Duration::from_millis(10);
        self.require(positive, "spec.limits.cpuTime", "must be at least 10ms, the clock's step");
        let memory = limits.memory.0;
        let fits = (64 << 10..=4 << 30).contains(&memory);
        self.require(fits, "spec.limits.memory", "must be between 64Ki, one wasm page, and 4Gi");
        let slots = spec.concurrency.slots;
        self.require((1..=1000).contains(&slots), "spec.concurrency.slots", "must be between 1 and 1000");
        let reuse = spec.concurrency.reuse_requests;
        self.require((2..=1_000_000).contains(&reuse), "spec.concurrency.reuseRequests", "must be from 2 to 1000000");
    }

    fn check_scaling(&mut self, scaling: &Scaling, slots: u32) {
        self.require((1..=10_000).contains(&scaling.max), "spec.scaling.max", "must be between 1 and 10000");
        self.require(scaling.min <= scaling.max, "spec.scaling.min", "must not be more than max");
        self.require(scaling.initial <= scaling.max, "spec.scaling.initial", "must not be more than max");
        let activation = (1..=scaling.max.max(1)).contains(&scaling.activation);
        self.require(activation, "spec.scaling.activation", "must be between 1 and max");
        let target = scaling.effective_target(slots);
        self.require(target.is_finite() && target > 0.0, "spec.scaling.target", "must be more than 0");
        let seconds = |from, to| time::Duration::from_secs(from)..=time::Duration::from_secs(to);
        let window = time::Duration::from(scaling.window);
        let panic = time::Duration::from(scaling.panic_window);
        let idle = time::Duration::from(scaling.idle);
        let delay = time::Duration::from(scaling.scale_down_delay);
        self.require(seconds(6, 3600).contains(&window), "spec.scaling.window", "must be between 6s and 1h");
        let fits = seconds(1, 3600).contains(&panic) && panic <= window;
        self.require(fits, "spec.scaling.panicWindow", "must be at least 1s and at most window");
        self.require(seconds(0, 86_400).contains(&idle), "spec.scaling.idle", "must be between 0s and 24h");
        self.require(seconds(0, 3600).contains(&delay), "spec.scaling.scaleDownDelay", "must be between 0s and 1h");
        let negative = [scaling.window, scaling.panic_window, scaling.idle, scaling.scale_down_delay];
        self.require(!negative.iter().any(|d| d.is_negative()), "spec.scaling", "durations must not be negative");
        self.require(scaling.panic_threshold >= 1.0, "spec.scaling.panicThreshold", "must be at least 1");
        self.require(scaling.max_up_rate > 1.0, "spec.scaling.maxUpRate", "must be more than 1");
        self.require(scaling.max_down_rate > 1.0, "spec.scaling.maxDownRate", "must be more than 1");
        for (index, window) in scaling.schedule.iter().enumerate() {
            if window.min > scaling.max {
                self.add(format!("spec.scaling.schedule[{index}].min"), "must not be more than max");
            }
        }
    }

    fn check_traffic(&mut self, traffic: &[TrafficTarget]) {
        let mut tags = BTreeSet::new();
        for (index, target) in traffic.iter().enumerate() {
            let path = format!("spec.traffic[{index}]");
            if target.revision.is_some() == target.latest {
                self.add(&path, "give either revision or latest: true");
            }
            let Some(tag) = &target.tag else { continue };
            if !is_dns_label(tag, 32) || !tag.starts_with(|c: char| c.is_ascii_lowercase()) {
                self.add(
                    format!("{path}.tag"),
                    "must be a DNS label of at most 32 characters that begins with a letter",
                );
            }
            if !tags.insert(tag) {
                self.add(format!("{path}.tag"), format!("{tag:?} is used twice"));
            }
        }
        let sum: u32 = traffic.iter().map(|target| u32::from(target.percent)).sum();
        if !traffic.is_empty() && sum != 100 {
            self.add("spec.traffic", format!("percentages must sum to 100, not {sum}"));
        }
    }

    fn check_hosts(&mut self, hosts: &[String], prefix: &str) {
        for (index, host) in hosts.iter().enumerate() {
            let rest = host.strip_prefix("*.").unwrap_or(host);
            if host.len() > 253 || !rest.split('.').all(|label| is_dns_label(label, 63)) {
                let message = format!("{host:?} is no host name; write it in lower case, without port or scheme");
                self.add(format!("spec.ingress.hosts[{index}]"), message);
            }
        }
        self.require(prefix.starts_with('/'), "spec.ingress.path", "must begin with /");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> WasmFunctionSpec {
        serde_json::from_value(serde_json::json!({"component": {"path": "hello.wasm"}})).unwrap()
    }

    fn paths(spec: &WasmFunctionSpec, target: Target) -> Vec<String> {
        validate("hello", spec, target).into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn the_smallest_manifest_is_right() {
        assert_eq!(validate("hello", &hello(), Target::Embedded), []);
    }

    #[test]
    fn a_cluster_refuses_what_lies_on_a_laptop() {
        assert_eq!(paths(&hello(), Target::Cluster), ["spec.component.path"]);
    }

    #[test]
    fn exactly_one_source_is_needed() {
        let mut spec = hello();
        spec.component.image = Some("registry.example/hello:1".to_owned());
        assert_eq!(paths(&spec, Target::Embedded), ["spec.component"]);
        spec.component = Component::default();
        assert_eq!(paths(&spec, Target::Embedded), ["spec.component"]);
    }

    #[test]
    fn a_url_needs_a_digest() {
        let mut spec = hello();
        spec.component = Component { url: Some("https://example.com/a.wasm".to_owned()), ..Component::default() };
        assert_eq!(paths(&spec, Target::Cluster), ["spec.component.sha256"]);
    }

    #[test]
    fn every_broken_rule_is_named_at_once() {
        let mut spec = hello();
        spec.scaling.min = 5;
        spec.scaling.max = 2;
        spec.scaling.target = Some(0.0);
        spec.limits.timeout = time::Duration::ZERO.into();
        spec.concurrency.slots = 0;
        let expected = ["spec.limits.timeout", "spec.concurrency.slots", "spec.scaling.min", "spec.scaling.target"];
        assert_eq!(paths(&spec, Target::Embedded), expected);
    }

    #[test]
    fn traffic_sums_to_a_hundred() {
        let mut spec = hello();
        let latest = |percent| TrafficTarget { latest: true, percent, ..TrafficTarget::default() };
        spec.traffic = vec![latest(90)];
        assert_eq!(paths(&spec, Target::Embedded), ["spec.traffic"]);
        spec.traffic = vec![latest(100)];
        assert!(paths(&spec, Target::Embedded).is_empty());
        spec.traffic[0].revision = Some("hello-00001".to_owned());
        assert_eq!(paths(&spec, Target::Embedded), ["spec.traffic[0]"]);
    }

    #[test]
    fn names_leave_room_for_revision_and_tag() {
        for bad in ["", "Hello", "-a", "a-", "a.b", &"x".repeat(51)] {
            assert_eq!(validate(bad, &hello(), Target::Embedded).len(), 1, "{bad:?}");
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        let result = serde_json::from_value::<WasmFunctionSpec>(serde_json::json!({
            "component": {"path": "hello.wasm"}, "scalling": {}
        }));
        assert!(result.unwrap_err().to_string().contains("unknown field `scalling`"));
    }
}
