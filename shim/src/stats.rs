//! What a container uses, in the message that containerd expects for each version of cgroups.

mod v1;
mod v2;

use std::fs;
use std::path::Path;

use containerd_shim::protos::protobuf::well_known_types::any::Any;
use containerd_shim::util::convert_to_any;

use crate::cgroup::Place;

/// What the cgroup at `place` uses. What the kernel does not show stays zero: the reader cannot do without the rest.
///
/// # Errors
/// When the message cannot be written.
pub(crate) fn metrics(place: &Place) -> containerd_shim::Result<Any> {
    match place {
        Place::V2(folder) => convert_to_any(Box::new(v2::metrics(&v2::Files::read(folder)))),
        Place::V1(place) => convert_to_any(Box::new(v1::metrics(&v1::Files::read(place)))),
    }
}

/// The text of a file, empty when it is not there: not every kernel has all of them.
fn text(folder: Option<&Path>, name: &str) -> String {
    folder.and_then(|folder| fs::read_to_string(folder.join(name)).ok()).unwrap_or_default()
}

/// A number alone in a file. `max` is no number: containerd takes the greatest for it.
fn number(text: &str) -> u64 {
    match text.trim() {
        "" => 0,
        "max" => u64::MAX,
        digits => digits.parse().unwrap_or(0),
    }
}

/// Of `pids.max`, where containerd takes zero for no limit.
fn pids_limit(text: &str) -> u64 {
    if text.trim() == "max" { 0 } else { number(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_a_limit_are_what_containerd_takes_for_it() {
        assert_eq!(number("max\n"), u64::MAX);
        assert_eq!(number("4096\n"), 4096);
        assert_eq!(number(""), 0);
        assert_eq!(pids_limit("max\n"), 0);
        assert_eq!(pids_limit("100\n"), 100);
    }

    #[test]
    fn messages_carry_the_type_that_containerd_asks_for() {
        let folder = tempfile::tempdir().unwrap();
        let any = metrics(&Place::V2(folder.path().to_owned())).unwrap();
        assert!(any.type_url.ends_with("io.containerd.cgroups.v2.Metrics"), "{}", any.type_url);
        let any = metrics(&Place::V1(crate::cgroup::V1Place::default())).unwrap();
        assert!(any.type_url.ends_with("io.containerd.cgroups.v1.Metrics"), "{}", any.type_url);
    }
}
