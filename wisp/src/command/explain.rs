//! `wisp explain`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

use jiff::tz::TimeZone;
use wisp_autoscaler::Explained;
use wisp_scaling::Reason;

use super::paint::{Paint, Tone};
use super::reason::{number, step, words};
use super::table::{Cell, Table};
use super::{lookup, time, write_json, write_text};
use crate::cli::{ExplainArgs, Output};
use crate::source::Source;
use crate::view::{Detail, Revision};

/// Says why a function has as many instances as it has.
pub(super) async fn run(args: ExplainArgs, source: &Source, output: Output) -> anyhow::Result<()> {
    let key = source.key(&args.function);
    let detail: Detail = source.parse(&lookup::detail(source, &key).await?)?;
    if let Some(wanted) = &args.revision {
        let known: Vec<&str> = detail.revisions.iter().map(|revision| revision.name.as_str()).collect();
        anyhow::ensure!(
            known.contains(&wanted.as_str()),
            "there is no revision {wanted:?}; there is {}",
            known.join(", ")
        );
    }
    let answer = source.decisions(&key, args.revision.as_deref()).await?;
    if output == Output::Json {
        return Ok(write_json(&answer)?);
    }
    let decisions: BTreeMap<String, Vec<Explained>> = source.parse(&answer)?;
    if decisions.is_empty() {
        eprintln!("the autoscaler has decided nothing; {}", detail.function.message);
    }
    let view = View { detail: &detail, paint: Paint::of(&io::stdout()), zone: TimeZone::system() };
    let parts: Vec<String> = decisions.iter().map(|(revision, decisions)| view.revision(revision, decisions)).collect();
    Ok(write_text(&parts.join("\n"))?)
}

struct View<'a> {
    detail: &'a Detail,
    paint: Paint,
    zone: TimeZone,
}

impl View<'_> {
    fn revision(&self, name: &str, decisions: &[Explained]) -> String {
        let mut out = String::new();
        if !decisions.is_empty() {
            out.push_str(&self.table(decisions).render(self.paint, ""));
        }
        let revision = self.detail.revisions.iter().find(|revision| revision.name == name);
        let _ = writeln!(out, "{}", self.paint.tone(&self.state(name, revision, decisions.last()), Tone::Strong));
        out
    }

    fn table(&self, decisions: &[Explained]) -> Table {
        let mut table = Table::new(["TIME", "CHANGE", "STEP", "DEMAND", "STABLE", "PANIC", "TARGET", "WHY"]);
        for Explained { unix_millis, from, decision } in decisions {
            let inputs = &decision.inputs;
            table.row([
                time::clock(*unix_millis, &self.zone).into(),
                change(*from, decision.replicas),
                step(decision).into(),
                inputs.waiting.saturating_add(inputs.in_flight).to_string().into(),
                number(inputs.average_stable).into(),
                number(inputs.average_panic).into(),
                number(inputs.target).into(),
                words(decision.reason).into(),
            ]);
        }
        table
    }

    /// One sentence on how things are, and one on what comes next where that is known.
    fn state(&self, name: &str, revision: Option<&Revision>, last: Option<&Explained>) -> String {
        let Some(last) = last else {
            return format!("{name} is at zero and has seen no demand; the first request starts it.");
        };
        let (wanted, reason) = (last.decision.replicas, last.decision.reason);
        let ready = revision.map_or(0, |revision| revision.ready);
        let number =
            if wanted == 0 { "is at zero".to_owned() } else { format!("wants {}, {ready} ready", instances(wanted)) };
        let text = format!("{name} {number}: {}.", words(reason));
        match self.next(wanted, reason) {
            Some(next) => format!("{text} {next}"),
            None => text,
        }
    }

    fn next(&self, wanted: u32, reason: Reason) -> Option<String> {
        let scaling = &self.detail.spec.as_ref()?.scaling;
        let idle = std::time::Duration::from(scaling.idle);
        match reason {
            Reason::Idle => Some("The next request starts it.".to_owned()),
            Reason::Stable | Reason::IdleWait | Reason::Demand | Reason::QueueHold
                if wanted == 1 && scaling.min == 0 =>
            {
                Some(format!("It goes to zero {idle:?} after the last request."))
            }
            Reason::AtMax => Some("Raise spec.scaling.max to let it grow.".to_owned()),
            Reason::RateUp => Some("The next steps raise it further.".to_owned()),
            Reason::RateDown => Some("The next steps lower it further.".to_owned()),
            _ => None,
        }
    }
}

fn change(from: u32, to: u32) -> Cell {
    let tone = match from.cmp(&to) {
        std::cmp::Ordering::Less => Tone::Good,
        std::cmp::Ordering::Equal => Tone::Quiet,
        std::cmp::Ordering::Greater => Tone::Pending,
    };
    Cell::toned(format!("{from} → {to}"), tone)
}

fn instances(count: u32) -> String {
    if count == 1 { "1 instance".to_owned() } else { format!("{count} instances") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::describe::fixture::detail;
    use crate::command::reason::fixture::decision;

    fn explained(from: u32, to: u32, reason: Reason) -> Explained {
        let mut decision = decision(to, reason);
        decision.inputs.waiting = 1;
        Explained { unix_millis: 1_764_000_000_125, from, decision }
    }

    fn view(detail: &Detail) -> View<'_> {
        View { detail, paint: Paint::Plain, zone: TimeZone::UTC }
    }

    #[test]
    fn each_decision_is_a_line_and_the_state_a_sentence() {
        let detail = detail();
        let decisions = [explained(0, 1, Reason::Wake), explained(1, 1, Reason::IdleWait)];
        let expected = "\
TIME           CHANGE   STEP                            DEMAND   STABLE   PANIC   TARGET   WHY
16:00:00.125   0 → 1    queue: 1 waiting, none ready    1        0        0       70       requests wait and no instance is ready
16:00:00.125   1 → 1    idle: 0 s without demand        1        0        0       70       no demand, but not for the idle time
hello-00001 wants 1 instance, 1 ready: no demand, but not for the idle time. It goes to zero 30s after the last request.
";
        let text = view(&detail).revision("hello-00001", &decisions);
        assert_eq!(squeeze(&text), squeeze(expected));
    }

    #[test]
    fn without_decisions_it_never_ran() {
        let detail = detail();
        let text = view(&detail).revision("hello-00001", &[]);
        assert_eq!(text, "hello-00001 is at zero and has seen no demand; the first request starts it.\n");
    }

    #[test]
    fn what_comes_next_is_said_where_it_is_known() {
        let detail = detail();
        let state = |reason| view(&detail).state("hello-00001", None, Some(&explained(9, 9, reason)));
        assert!(state(Reason::AtMax).ends_with("Raise spec.scaling.max to let it grow."));
        assert!(state(Reason::Stable).ends_with("asks for it."));
    }

    /// Columns are tested in `table`.
    fn squeeze(text: &str) -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }
}
