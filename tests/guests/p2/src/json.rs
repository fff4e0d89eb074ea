//! The little JSON that the answers need; a library would be larger than all guests together.

pub fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// An object of strings.
pub fn object<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let members: Vec<_> = pairs.into_iter().map(|(key, value)| format!("{}:{}", string(key), string(value))).collect();
    format!("{{{}}}", members.join(","))
}

/// An array of strings.
pub fn array<'a>(items: impl IntoIterator<Item = &'a String>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| string(item)).collect();
    format!("[{}]", items.join(","))
}
