//! `wisp ls`.

use std::io;

use super::paint::{Paint, Tone};
use super::table::{Cell, Table};
use super::{time, write_json, write_text};
use crate::cli::{LsArgs, Output};
use crate::client::Admin;
use crate::view::{Function, Overview, Ready};

/// Lists functions.
pub(super) async fn run(args: LsArgs, admin: Admin, output: Output) -> anyhow::Result<()> {
    let answer = admin.get("/api/overview").await?;
    let namespace = args.namespace.as_deref();
    match (output, namespace) {
        (Output::Json, None) => return Ok(write_json(&answer)?),
        (Output::Json, Some(namespace)) => {
            let overview = only(admin.parse(&answer)?, namespace);
            return Ok(write_json(&serde_json::to_vec(&overview)?)?);
        }
        (Output::Text, _) => {}
    }
    let mut overview: Overview = admin.parse(&answer)?;
    overview.functions.retain(|function| namespace.is_none_or(|namespace| function.namespace == namespace));
    if overview.functions.is_empty() {
        match namespace {
            Some(namespace) => eprintln!("no functions in namespace {namespace:?}"),
            None => {
                eprintln!("no functions; put a manifest into the folder that `wisp up` was given, or see `wisp new`")
            }
        }
        return Ok(());
    }
    let table = table(&overview);
    let table = if namespace.is_some() { table.without("NAMESPACE") } else { table };
    Ok(write_text(&table.render(Paint::of(&io::stdout()), ""))?)
}

/// The server's answer with the functions of one namespace, and whatever else it says.
fn only(mut overview: serde_json::Value, namespace: &str) -> serde_json::Value {
    if let Some(functions) = overview.get_mut("functions").and_then(|functions| functions.as_array_mut()) {
        functions.retain(|function| function.get("namespace").and_then(|value| value.as_str()) == Some(namespace));
    }
    overview
}

fn table(overview: &Overview) -> Table {
    let mut table = Table::new(["NAMESPACE", "NAME", "URL", "READY", "REASON", "REPLICAS", "REVISION", "AGE"]);
    for function in &overview.functions {
        table.row([
            function.namespace.as_str().into(),
            function.name.as_str().into(),
            function.url.as_str().into(),
            ready(function),
            format!("{:?}", function.reason).into(),
            function.replicas.to_string().into(),
            or_dash(&function.latest_revision).into(),
            time::age_between(function.created_unix_seconds.saturating_mul(1000), overview.unix_millis).into(),
        ]);
    }
    table
}

/// The word for a function's readiness in its colour.
pub(super) fn ready(function: &Function) -> Cell {
    let tone = match function.ready {
        Ready::True => Tone::Good,
        Ready::False => Tone::Bad,
        Ready::Unknown => Tone::Pending,
    };
    Cell::toned(format!("{:?}", function.ready), tone)
}

/// A dash for what is not there, so that columns stay countable.
pub(super) fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

#[cfg(test)]
pub(super) mod fixture {
    use wisp_api::status::Reason;

    use super::*;

    /// A ready function at zero that was deployed at the Unix epoch.
    pub(in crate::command) fn function(namespace: &str, name: &str) -> Function {
        Function {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            url: format!("http://{name}.{namespace}.localhost:8080"),
            ready: Ready::True,
            reason: Reason::Ready,
            message: "ready".to_owned(),
            latest_revision: format!("{name}-00001"),
            traffic: Vec::new(),
            replicas: 0,
            starting: 0,
            draining: 0,
            waiting: 0,
            in_flight: 0,
            requests_total: 0,
            failed_total: 0,
            created_unix_seconds: 0,
        }
    }

    pub(in crate::command) fn overview(functions: Vec<Function>) -> Overview {
        Overview {
            version: "0.1.0".to_owned(),
            unix_millis: 312_000,
            listen: "127.0.0.1:8080".to_owned(),
            domain: "localhost".to_owned(),
            functions,
            warm: 2,
            cold_starts: serde_json::Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use wisp_api::status::Reason;

    use super::fixture::{function, overview};
    use super::*;

    #[test]
    fn functions_are_listed_as_kubectl_would() {
        let broken = Function {
            ready: Ready::False,
            reason: Reason::NotAComponent,
            latest_revision: String::new(),
            ..function("shop", "cart")
        };
        let text = table(&overview(vec![function("default", "hello"), broken])).render(Paint::Plain, "");
        let expected = "\
NAMESPACE   NAME    URL                                   READY   REASON          REPLICAS   REVISION      AGE
default     hello   http://hello.default.localhost:8080   True    Ready           0          hello-00001   5m12s
shop        cart    http://cart.shop.localhost:8080       False   NotAComponent   0          -             5m12s
";
        assert_eq!(text, expected);
    }

    #[test]
    fn json_of_one_namespace_keeps_all_other_fields() {
        let whole = serde_json::json!({"later": 1, "functions": [{"namespace": "a", "x": 1}, {"namespace": "b"}]});
        let part = serde_json::json!({"later": 1, "functions": [{"namespace": "a", "x": 1}]});
        assert_eq!(only(whole, "a"), part);
    }
}
