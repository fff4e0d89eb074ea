//! `wisp describe`.

use std::fmt::Write;
use std::io;

use jiff::tz::TimeZone;
use wisp_api::WasmFunctionSpec;

use super::ls::or_dash;
use super::paint::{Paint, Tone, printable};
use super::table::{Cell, Table};
use super::{lookup, time, traffic, write_json, write_text};
use crate::cli::{FunctionArgs, Output};
use crate::source::Source;
use crate::view::{Detail, Function, Ready, Requests};

/// Characters of a digest that people compare.
const DIGEST_SHOWN: usize = "sha256:".len() + 12;

/// Shows one function with all that belongs to it.
pub(super) async fn run(function: FunctionArgs, source: &Source, output: Output) -> anyhow::Result<()> {
    let answer = lookup::detail(source, &source.key(&function)).await?;
    if output == Output::Json {
        return Ok(write_json(&answer)?);
    }
    let page = Page { paint: Paint::of(&io::stdout()), zone: TimeZone::system(), now: time::unix_millis_now() };
    Ok(write_text(&page.render(&source.parse(&answer)?))?)
}

struct Page {
    paint: Paint,
    zone: TimeZone,
    /// In milliseconds since the Unix epoch.
    now: u64,
}

impl Page {
    fn render(&self, detail: &Detail) -> String {
        let mut out = String::new();
        self.head(&mut out, detail);
        self.section(&mut out, "Traffic", Self::traffic(&detail.function));
        self.section(&mut out, "Revisions", self.revisions(detail));
        self.section(&mut out, "Instances", self.instances(detail));
        self.section(&mut out, "Events", self.events(detail));
        out
    }

    fn head(&self, out: &mut String, detail: &Detail) {
        let function = &detail.function;
        let tone = match function.ready {
            Ready::True => Tone::Good,
            Ready::False => Tone::Bad,
            Ready::Unknown => Tone::Pending,
        };
        let ready = self.paint.tone(&format!("{:?}", function.ready), tone);
        let created = function.created_unix_seconds.saturating_mul(1000);
        let mut fields = vec![
            ("Name", function.name.clone()),
            ("Namespace", function.namespace.clone()),
            ("URL", function.url.clone()),
            ("Ready", format!("{ready} ({:?}): {}", function.reason, printable(&function.message))),
            ("Origin", detail.origin.clone()),
            ("Age", time::age_between(created, self.now)),
            ("Replicas", replicas(function)),
        ];
        if let Some(Requests { waiting, in_flight, requests_total, failed_total }) = function.requests {
            fields.push(("Demand", format!("{in_flight} in flight, {waiting} waiting")));
            fields.push(("Requests", format!("{requests_total}, of which {failed_total} failed")));
        }
        fields.push(("Scaling", detail.spec.as_ref().map_or_else(|| "-".to_owned(), scaling)));
        for (name, value) in fields {
            let _ = writeln!(out, "{:<11}{value}", format!("{name}:"));
        }
    }

    fn section(&self, out: &mut String, name: &str, table: Option<Table>) {
        let Some(table) = table else { return };
        let _ = writeln!(out, "{}", self.paint.tone(&format!("{name}:"), Tone::Strong));
        out.push_str(&table.render(self.paint, "  "));
    }

    fn traffic(function: &Function) -> Option<Table> {
        (!function.traffic.is_empty()).then(|| traffic::table(&function.traffic))
    }

    fn revisions(&self, detail: &Detail) -> Option<Table> {
        let mut table = Table::new(["NAME", "DIGEST", "TRAFFIC", "WANTED", "READY", "AGE"]);
        for revision in &detail.revisions {
            let digest: String = revision.digest.chars().take(DIGEST_SHOWN).collect();
            table.row([
                revision.name.as_str().into(),
                or_dash(&digest).into(),
                format!("{}%", revision.percent).into(),
                revision.wanted.to_string().into(),
                revision.ready.to_string().into(),
                time::age_between(revision.created_unix_seconds.saturating_mul(1000), self.now).into(),
            ]);
        }
        (!detail.revisions.is_empty()).then_some(table)
    }

    fn instances(&self, detail: &Detail) -> Option<Table> {
        let mut table = Table::new(["NAME", "PID", "REVISION", "STATE", "IN FLIGHT", "AGE"]);
        for instance in &detail.instances {
            let tone = if instance.state == "ready" { Tone::Good } else { Tone::Pending };
            table.row([
                instance.name.as_str().into(),
                or_none(instance.pid).into(),
                instance.revision.as_str().into(),
                Cell::toned(&instance.state, tone),
                or_none(instance.in_flight).into(),
                time::age(instance.age_millis / 1000).into(),
            ]);
        }
        // Nobody knows them of a cluster.
        if detail.instances.iter().all(|instance| instance.pid.is_none() && instance.in_flight.is_none()) {
            table = table.without("PID").without("IN FLIGHT");
        }
        (!detail.instances.is_empty()).then_some(table)
    }

    fn events(&self, detail: &Detail) -> Option<Table> {
        let mut table = Table::new(["TIME", "AGE", "REASON", "MESSAGE"]);
        for event in &detail.events {
            table.row([
                time::clock(event.unix_millis, &self.zone).into(),
                time::age_between(event.unix_millis, self.now).into(),
                event.reason.as_str().into(),
                printable(&event.message).into(),
            ]);
        }
        (!detail.events.is_empty()).then_some(table)
    }
}

fn or_none(number: Option<u32>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn replicas(function: &Function) -> String {
    let mut text = format!("{} ready", function.replicas);
    for (count, state) in [(function.starting, "starting"), (function.draining, "draining")] {
        if count > 0 {
            let _ = write!(text, ", {count} {state}");
        }
    }
    text
}

fn scaling(spec: &WasmFunctionSpec) -> String {
    let (scaling, slots) = (&spec.scaling, spec.concurrency.slots);
    let target = scaling.effective_target(slots);
    let metric = match scaling.metric {
        wisp_api::scaling::Metric::Concurrency => "requests at once",
        wisp_api::scaling::Metric::Rps => "requests per second",
        wisp_api::scaling::Metric::Cpu => "busy CPUs",
    };
    let idle = std::time::Duration::from(scaling.idle);
    format!("{} to {}, {target} {metric} per instance of {slots} slots, idle after {idle:?}", scaling.min, scaling.max)
}

#[cfg(test)]
pub(super) mod fixture {
    use wisp_api::status::TrafficStatus;

    use super::*;
    use crate::command::ls::fixture::function;
    use crate::view::{Event, Instance, Revision};

    /// A function with one of everything.
    pub(in crate::command) fn detail() -> Detail {
        let traffic = TrafficStatus { revision: "hello-00001".to_owned(), percent: 100, tag: None, url: None };
        let revision = Revision {
            name: "hello-00001".to_owned(),
            digest: format!("sha256:{}", "0123456789abcdef".repeat(4)),
            created_unix_seconds: 0,
            percent: 100,
            wanted: 1,
            ready: 1,
        };
        let instance = Instance {
            name: "i-1".to_owned(),
            pid: Some(4711),
            revision: "hello-00001".to_owned(),
            state: "ready".to_owned(),
            in_flight: Some(2),
            age_millis: 12_000,
        };
        let event = Event { unix_millis: 60_000, reason: "Scaled".to_owned(), message: "from 0 to 1".to_owned() };
        let spec = serde_json::json!({"component": {"path": "hello.wasm"}});
        Detail {
            function: Function { traffic: vec![traffic], replicas: 1, starting: 1, ..function("default", "hello") },
            origin: "functions/hello.yaml".to_owned(),
            spec: Some(serde_json::from_value(spec).expect("all else has defaults")),
            revisions: vec![revision],
            instances: vec![instance],
            events: vec![event],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::detail;
    use super::*;

    #[test]
    fn a_function_is_shown_with_all_that_belongs_to_it() {
        let page = Page { paint: Paint::Plain, zone: TimeZone::UTC, now: 120_000 };
        let expected = "\
Name:      hello
Namespace: default
URL:       http://hello.default.localhost:8080
Ready:     True (Ready): ready
Origin:    functions/hello.yaml
Age:       2m
Replicas:  1 ready, 1 starting
Demand:    0 in flight, 0 waiting
Requests:  0, of which 0 failed
Scaling:   0 to 100, 70 requests at once per instance of 100 slots, idle after 30s
Traffic:
  REVISION      PERCENT   TAG   URL
  hello-00001   100       -     -
Revisions:
  NAME          DIGEST                TRAFFIC   WANTED   READY   AGE
  hello-00001   sha256:0123456789ab   100%      1        1       2m
Instances:
  NAME   PID    REVISION      STATE   IN FLIGHT   AGE
  i-1    4711   hello-00001   ready   2           12s
Events:
  TIME           AGE   REASON   MESSAGE
  00:01:00.000   60s   Scaled   from 0 to 1
";
        assert_eq!(page.render(&detail()), expected);
    }

    #[test]
    fn what_a_cluster_does_not_know_is_not_shown() {
        let mut detail = detail();
        detail.function.requests = None;
        (detail.instances[0].pid, detail.instances[0].in_flight) = (None, None);
        let page = Page { paint: Paint::Plain, zone: TimeZone::UTC, now: 0 };
        let text = page.render(&detail);
        assert!(!text.contains("Demand:") && text.contains("  NAME   REVISION      STATE   AGE\n"), "{text}");
    }

    #[test]
    fn empty_sections_are_left_out() {
        let mut detail = detail();
        (detail.instances, detail.events) = (Vec::new(), Vec::new());
        let page = Page { paint: Paint::Plain, zone: TimeZone::UTC, now: 0 };
        let text = page.render(&detail);
        assert!(!text.contains("Instances:") && !text.contains("Events:"), "{text}");
    }
}
