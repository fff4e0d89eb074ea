//! Colours, where they help, and harmless text.

use std::env;
use std::ffi::OsStr;
use std::io::IsTerminal;

/// Whether output is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// Never: files, pipes, and people who set `NO_COLOR`.
    Plain,
    /// By ANSI sequences.
    Ansi,
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it is.
    Normal,
    /// All is well.
    Good,
    /// Something has to be done.
    Bad,
    /// On its way.
    Pending,
    /// Less important.
    Quiet,
    /// A heading.
    Strong,
}

impl Paint {
    /// What suits `stream`.
    pub(super) fn of(stream: &impl IsTerminal) -> Self {
        if stream.is_terminal() { Self::unless(env::var_os("NO_COLOR").as_deref()) } else { Self::Plain }
    }

    /// An empty `NO_COLOR` is none, says no-color.org.
    fn unless(no_color: Option<&OsStr>) -> Self {
        if no_color.is_none_or(OsStr::is_empty) { Self::Ansi } else { Self::Plain }
    }

    /// `text` in the colour of its meaning.
    pub(super) fn tone(self, text: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Normal => return text.to_owned(),
            _ if self == Self::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Pending => "33",
            Tone::Quiet => "2",
            Tone::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Text of a guest, or about one, that a terminal shows and does not obey: control characters are spelled out.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\t' {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_need_a_terminal_and_no_objection() {
        assert_eq!(Paint::of(&tempfile::tempfile().unwrap()), Paint::Plain);
        for (no_color, paint) in [(None, Paint::Ansi), (Some("1"), Paint::Plain), (Some(""), Paint::Ansi)] {
            assert_eq!(Paint::unless(no_color.map(OsStr::new)), paint, "{no_color:?}");
        }
        assert_eq!(Paint::Ansi.tone("True", Tone::Good), "\x1b[32mTrue\x1b[0m");
        assert_eq!(Paint::Plain.tone("True", Tone::Good), "True");
    }

    #[test]
    fn a_guest_cannot_drive_the_terminal() {
        assert_eq!(printable("a\tb\x1b]0;title\x07ü"), "a\tb\\u{1b}]0;title\\u{7}ü");
    }
}
