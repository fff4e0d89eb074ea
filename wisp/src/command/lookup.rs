//! Finds a function, or says which names are near.

use bytes::Bytes;
use wisp_api::FunctionKey;

use crate::source::Source;
use crate::view::{Function, Overview};

/// Names that a message offers.
const OFFERED_MAX: usize = 3;

/// The function's [`crate::view::Detail`] as the source said it.
pub(super) async fn detail(source: &Source, key: &FunctionKey) -> anyhow::Result<Bytes> {
    found(source, key, source.detail(key).await?).await
}

/// Turns nothing into a message with the names that are near.
pub(super) async fn found<T>(source: &Source, key: &FunctionKey, answer: Option<T>) -> anyhow::Result<T> {
    if let Some(answer) = answer {
        return Ok(answer);
    }
    let overview = source.overview(source.neighbours(key)).await;
    Err(match overview.and_then(|overview| source.parse::<Overview>(&overview)) {
        Ok(overview) => anyhow::anyhow!(unknown(key, &overview.functions, source.how_to_get_one())),
        // Who may get a function need not be allowed to list what there is.
        Err(_) => anyhow::anyhow!(absent(key)),
    })
}

fn absent(FunctionKey { namespace, name }: &FunctionKey) -> String {
    format!("there is no function {name:?} in namespace {namespace:?}")
}

fn unknown(key: &FunctionKey, known: &[Function], how_to_get_one: &str) -> String {
    let text = absent(key);
    if known.is_empty() {
        return format!("{text}, nor any other; {how_to_get_one}");
    }
    let near = nearest(key, known);
    if near.is_empty() {
        return format!("{text}; `wisp ls` shows what there is");
    }
    format!("{text}; did you mean {}?", near.join(" or "))
}

/// The nearest names, as arguments that would find them.
fn nearest(function: &FunctionKey, known: &[Function]) -> Vec<String> {
    let wanted = function.name.as_str();
    let far = (wanted.chars().count() / 3).max(2);
    let mut near: Vec<(usize, bool, String)> = known
        .iter()
        .filter_map(|other| {
            let contains = !wanted.is_empty() && (other.name.contains(wanted) || wanted.contains(&other.name));
            let distance = distance(wanted, &other.name);
            let elsewhere = other.namespace != function.namespace;
            let words = if elsewhere { format!("{} -n {}", other.name, other.namespace) } else { other.name.clone() };
            (contains || distance <= far).then_some((distance, elsewhere, words))
        })
        .collect();
    near.sort();
    near.into_iter().take(OFFERED_MAX).map(|(_, _, words)| format!("`{words}`")).collect()
}

/// Levenshtein's: insertions, deletions and replacements from one to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::ls::fixture::function;

    fn wanted(name: &str) -> FunctionKey {
        FunctionKey::new("default", name)
    }

    fn unknown(key: &FunctionKey, known: &[Function]) -> String {
        super::unknown(key, known, "deploy one")
    }

    #[test]
    fn a_slip_of_the_finger_finds_the_name() {
        let known = [function("default", "hello"), function("default", "echo-stream"), function("shop", "cart")];
        let message = unknown(&wanted("helo"), &known);
        assert_eq!(message, "there is no function \"helo\" in namespace \"default\"; did you mean `hello`?");
        assert!(unknown(&wanted("echo"), &known).ends_with("did you mean `echo-stream`?"));
        assert!(unknown(&wanted("cart"), &known).ends_with("did you mean `cart -n shop`?"));
    }

    #[test]
    fn far_names_are_not_offered() {
        let known = [function("default", "hello")];
        assert!(unknown(&wanted("payments"), &known).ends_with("`wisp ls` shows what there is"));
        assert!(unknown(&wanted("payments"), &[]).ends_with("nor any other; deploy one"));
    }

    #[test]
    fn distances_count_edits() {
        let table = [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("helo", "hello", 1)];
        for (from, to, edits) in table {
            assert_eq!(distance(from, to), edits, "{from} {to}");
            assert_eq!(distance(to, from), edits, "{to} {from}");
        }
    }
}
