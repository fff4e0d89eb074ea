//! containerd's configuration as text: where the runtime's table goes, and what is in it.
//!
//! Version 2 is what containerd 1.x writes (2.x reads it too), version 3 is that of 2.x. They differ in the name of the
//! plugin. Comments and order are kept, so that whoever keeps the file by hand finds it again.

use std::path::Path;

use toml_edit::{DocumentMut, Item, Table, TableLike, value};

/// What pods name in their runtime class.
pub const HANDLER: &str = "wisp";
/// The shim's type; containerd makes the name of the program from it.
const RUNTIME_TYPE: &str = "io.containerd.wisp.v1";
const PLUGIN_OF_VERSION_2: &str = "io.containerd.grpc.v1.cri";
const PLUGIN_OF_VERSION_3: &str = "io.containerd.cri.v1.runtime";
/// Both containerd 1.7 and 2.x read it: what an absent or empty file becomes.
const VERSION_OF_EMPTY: i64 = 2;

/// Why a configuration is left alone.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not TOML.
    #[error("is no TOML: {0}")]
    Syntax(#[from] toml_edit::TomlError),
    /// Something else stands where a table should.
    #[error("has a {0} that is no table")]
    NotATable(String),
    /// Before containerd 1.3, or after what this installer knows.
    #[error("has version {0}; versions 2 and 3 are understood")]
    Version(i64),
}

/// `config` with the runtime in it, whose shim is `shim`; unchanged, byte by byte, when it is there already.
///
/// # Errors
/// When the configuration is not understood.
pub fn with_runtime(config: &str, shim: &Path) -> Result<String, ConfigError> {
    let mut document: DocumentMut = config.parse()?;
    let plugin = plugin(&mut document)?;
    let runtimes = runtimes(&mut document, plugin)?;
    let wanted = runtime(shim, runc_uses_systemd(runtimes));
    let is_there = runtimes.get(HANDLER).and_then(Item::as_table_like).is_some_and(|there| same(there, &wanted));
    if is_there {
        return Ok(config.to_owned());
    }
    runtimes.insert(HANDLER, Item::Table(wanted));
    Ok(document.to_string())
}

/// `config` without the runtime; unchanged when it is not there.
///
/// # Errors
/// When the configuration is not understood.
pub fn without_runtime(config: &str) -> Result<String, ConfigError> {
    let mut document: DocumentMut = config.parse()?;
    let plugin = plugin(&mut document)?;
    match runtimes(&mut document, plugin)?.remove(HANDLER) {
        Some(_) => Ok(document.to_string()),
        None => Ok(config.to_owned()),
    }
}

fn plugin(document: &mut DocumentMut) -> Result<&'static str, ConfigError> {
    // A file without a version is of version 1, which no containerd reads that runs Wisp; but an empty one is anything.
    let is_empty = document.as_table().is_empty();
    let version = document.get("version").and_then(Item::as_integer);
    match version.unwrap_or(if is_empty { VERSION_OF_EMPTY } else { 1 }) {
        2 => {
            document["version"] = value(2);
            Ok(PLUGIN_OF_VERSION_2)
        }
        3 => Ok(PLUGIN_OF_VERSION_3),
        other => Err(ConfigError::Version(other)),
    }
}

fn runtimes<'a>(document: &'a mut DocumentMut, plugin: &str) -> Result<&'a mut dyn TableLike, ConfigError> {
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for name in ["plugins", plugin, "containerd", "runtimes"] {
        let item = table.entry(name).or_insert_with(|| {
            let mut between = Table::new();
            // No header of its own: it only leads to the runtime's.
            between.set_implicit(true);
            Item::Table(between)
        });
        table = item.as_table_like_mut().ok_or_else(|| ConfigError::NotATable(name.to_owned()))?;
    }
    Ok(table)
}

/// The node's other pods tell which cgroup driver the kubelet uses; ours must use the same.
fn runc_uses_systemd(runtimes: &dyn TableLike) -> bool {
    let options = runtimes.get("runc").and_then(|runc| runc.get("options"));
    options.and_then(|options| options.get("SystemdCgroup")).and_then(Item::as_bool).unwrap_or(false)
}

fn runtime(shim: &Path, systemd: bool) -> Table {
    let mut runtime = Table::new();
    runtime.insert("runtime_type", value(RUNTIME_TYPE));
    runtime.insert("runtime_path", value(shim.display().to_string()));
    let mut options = Table::new();
    options.insert("SystemdCgroup", value(systemd));
    runtime.insert("options", Item::Table(options));
    runtime
}

fn same(one: &dyn TableLike, other: &dyn TableLike) -> bool {
    let plain = |table: &dyn TableLike| {
        let mut entries: Vec<(String, String)> =
            table.iter().map(|(name, item)| (name.to_owned(), text(item))).collect();
        entries.sort();
        entries
    };
    plain(one) == plain(other)
}

fn text(item: &Item) -> String {
    match item.as_table_like() {
        Some(table) => table.iter().map(|(name, item)| format!("{name}={};", text(item))).collect(),
        None => item.as_value().map(|value| value.clone().decorated("", "").to_string()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIM: &str = "/opt/wisp/bin/containerd-shim-wisp-v1";

    fn added(config: &str) -> String {
        with_runtime(config, Path::new(SHIM)).unwrap()
    }

    /// The runtime's table, wherever it is.
    fn found(config: &str, plugin: &str) -> (String, String, bool) {
        let document: DocumentMut = config.parse().unwrap();
        let runtime = &document["plugins"][plugin]["containerd"]["runtimes"]["wisp"];
        let text = |name: &str| runtime[name].as_str().unwrap().to_owned();
        (text("runtime_type"), text("runtime_path"), runtime["options"]["SystemdCgroup"].as_bool().unwrap())
    }

    #[test]
    fn the_runtime_goes_where_the_version_of_the_configuration_wants_it() {
        let table = [
            ("", PLUGIN_OF_VERSION_2, false),
            ("version = 2\n", PLUGIN_OF_VERSION_2, false),
            ("version = 3\n", PLUGIN_OF_VERSION_3, false),
            (
                "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nSystemdCgroup = true\n",
                PLUGIN_OF_VERSION_2,
                true,
            ),
            (
                "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd]\ndefault_runtime_name = 'runc'\n\
                 runtimes = { runc = { runtime_type = 'io.containerd.runc.v2', options = { SystemdCgroup = true } } }\n",
                PLUGIN_OF_VERSION_3,
                true,
            ),
        ];
        for (config, plugin, systemd) in table {
            let with = added(config);
            assert_eq!(found(&with, plugin), (RUNTIME_TYPE.to_owned(), SHIM.to_owned(), systemd), "{config}");
        }
    }

    #[test]
    fn what_else_is_there_stays_as_it_was() {
        let config = "# by hand\nversion = 2\n\n[grpc]\n  address = \"/run/c.sock\" # ours\n";
        let with = added(config);
        assert!(with.starts_with(config), "{with}");
        assert_eq!(without_runtime(&with).unwrap().trim_end(), config.trim_end());
    }

    #[test]
    fn adding_twice_and_removing_what_is_not_there_change_nothing() {
        for config in ["", "version = 3\n", "version = 2\n[grpc]\naddress = 'a'\n"] {
            let with = added(config);
            assert_eq!(added(&with), with);
            assert_eq!(without_runtime(config).unwrap(), config);
        }
    }

    #[test]
    fn a_runtime_of_another_place_is_replaced() {
        let old = added("version = 3\n");
        let moved = with_runtime(&old, Path::new("/usr/local/bin/containerd-shim-wisp-v1")).unwrap();
        assert_eq!(found(&moved, PLUGIN_OF_VERSION_3).1, "/usr/local/bin/containerd-shim-wisp-v1");
        assert_eq!(moved.matches("runtime_path").count(), 1);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let table = [
            ("version = 4\n", "version 4"),
            ("[grpc]\naddress = 'a'\n", "version 1"),
            ("version = [", "TOML"),
            ("version = 2\nplugins = 3\n", "plugins"),
        ];
        for (config, said) in table {
            let error = with_runtime(config, Path::new(SHIM)).unwrap_err().to_string();
            assert!(error.contains(said), "{config}: {error}");
        }
    }
}
