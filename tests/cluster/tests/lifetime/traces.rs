//! Everything by which a machine could tell that a cluster was there.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What there is of cluster `number`: processes and mounts, links, routes, groups, files.
pub(crate) fn of(number: u8) -> Vec<String> {
    let mut found = processes(number);
    found.extend(lines_with(&printed("ip", &["-o", "link"]), &format!("wisp-n{number}@")));
    for network in [format!("10.88.{number}."), format!("10.77.{number}."), format!("10.96.{}.", number * 16)] {
        found.extend(lines_with(&printed("ip", &["route", "show", "table", "all"]), &network));
    }
    found.extend(groups(number));
    let folder = folder(number);
    let files = [folder.clone(), format!("{folder}.lock")];
    found.extend(files.into_iter().filter(|path| Path::new(path).exists()));
    found
}

/// Processes that see a mount of the cluster's: every process of the node and of its pods does, and whoever else does
/// has got a mount that should have stayed inside.
pub(crate) fn processes(number: u8) -> Vec<String> {
    let mark = format!("{}/", folder(number));
    let pids = fs::read_dir("/proc").expect("this is Linux").flatten().map(|entry| entry.path());
    let sees = |process: &std::path::PathBuf| {
        fs::read_to_string(process.join("mountinfo")).is_ok_and(|mounts| mounts.contains(&mark))
    };
    let names = pids.filter(sees).map(|process| {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        format!("{} {}", process.display(), name.trim())
    });
    names.collect()
}

fn groups(number: u8) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("this is Linux");
    let roots = mounts.lines().filter_map(|line| {
        let mut parts = line.split(' ').skip(1);
        let (root, kind) = (parts.next()?, parts.next()?);
        kind.starts_with("cgroup").then_some(root)
    });
    let groups = roots.map(|root| format!("{root}/wisp-test-{number}"));
    groups.filter(|group| Path::new(group).exists()).collect()
}

fn folder(number: u8) -> String {
    format!("/run/wisp-cluster/{number}")
}

fn lines_with(text: &str, mark: &str) -> Vec<String> {
    text.lines().filter(|line| line.contains(mark)).map(str::to_owned).collect()
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("it is installed");
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).expect("it prints text")
}
