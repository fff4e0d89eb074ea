//! `wisp completions` and `wisp man`: what the command line says of itself.

use std::fs;
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::write_text;
use crate::cli::Cli;

/// Prints a completion script.
pub(super) fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "wisp", &mut script);
    Ok(write_text(&String::from_utf8(script)?)?)
}

/// Writes a page for `wisp` and one for each of its commands.
pub(super) fn pages(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("cannot write pages into {}", folder.display()))?;
    Ok(write_text(&format!("read them with `man -l {}`\n", folder.join("wisp.1").display()))?)
}

#[cfg(test)]
mod tests {
    use clap::Command;
    use clap::ValueEnum;

    use super::*;

    fn visible(command: &Command) -> impl Iterator<Item = &Command> {
        command.get_subcommands().filter(|command| !command.is_hide_set())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_argument_has_help() {
        let root = Cli::command();
        for command in visible(&root) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        pages(&folder.path().join("man")).unwrap();
        let root = Cli::command();
        let names = visible(&root).map(|command| format!("wisp-{}.1", command.get_name()));
        for name in names.chain(["wisp.1".to_owned()]) {
            let page = fs::read_to_string(folder.path().join("man").join(&name)).unwrap();
            assert!(page.contains(".SH SYNOPSIS"), "{name}");
        }
        assert!(!folder.path().join("man/wisp-host.1").exists(), "hidden commands have none");
    }

    #[test]
    fn every_shell_has_completions() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "wisp", &mut script);
            assert!(String::from_utf8(script).unwrap().contains("describe"), "{shell}");
        }
    }
}
