//! `wisp ls`.

use std::io;

use super::paint::{Paint, Tone};
use super::table::{Cell, Table};
use super::{time, write_json, write_text};
use crate::cli::{LsArgs, Output};
use crate::source::Source;
use crate::view::{Function, Overview, Ready};

/// Lists functions.
pub(super) async fn run(args: LsArgs, source: &Source, output: Output) -> anyhow::Result<()> {
    let namespace = if args.all_namespaces { None } else { source.scope(args.namespace.as_deref()) };
    let answer = source.overview(namespace).await?;
    if output == Output::Json {
        return Ok(write_json(&answer)?);
    }
    let overview: Overview = source.parse(&answer)?;
    if overview.functions.is_empty() {
        match namespace {
            Some(namespace) => eprintln!("no functions in namespace {namespace:?}"),
            None => eprintln!("no functions; {}", source.how_to_get_one()),
        }
        return Ok(());
    }
    let table = table(&overview);
    let table = if namespace.is_some() { table.without("NAMESPACE") } else { table };
    Ok(write_text(&table.render(Paint::of(&io::stdout()), ""))?)
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
    use crate::view::Requests;

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
            requests: Some(Requests::default()),
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
}
