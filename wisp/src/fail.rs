//! How a command says that it failed.

use std::io;
use std::process::ExitCode;

/// Writes the error and its causes to standard error, and gives the exit code 1. A reader of the output that has had
/// enough, such as `head`, is no failure.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_closed_output(error) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

/// Only output is written without a context; whatever else breaks says what it was.
fn is_closed_output(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>().filter(|_| error.chain().count() == 1);
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_had_enough_is_no_failure() {
        let closed = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_closed_output(&closed));
        let another = closed.context("the helper did not read");
        assert!(!is_closed_output(&another));
        let missing = anyhow::Error::from(io::Error::from(io::ErrorKind::NotFound));
        assert!(!is_closed_output(&missing));
    }
}
