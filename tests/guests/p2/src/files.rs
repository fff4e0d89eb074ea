//! A guest that tries to leave its preopened folders, and to write where it may only read.

use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

use crate::attack::Findings;
use crate::json;
use crate::request::Call;

/// Paths that lead out of every folder.
const OUTSIDE: [&str; 8] = [
    "/etc/passwd",
    "../../../../../../../../etc/passwd",
    "./../../../../../../etc/passwd",
    "a/../../../../../../../etc/passwd",
    "//etc/passwd",
    "/proc/self/environ",
    "../../../../../../../../proc/self/environ",
    "../",
];

/// Tries each way out of each preopened folder. `reached` must be empty; `files` is what the guest may read,
/// `wrote` the folders in which it could create a file.
pub fn attack(call: Call) {
    let (mut findings, mut files, mut wrote) = (Findings::default(), Vec::new(), Vec::new());
    let preopens = get_directories();
    for (folder, name) in &preopens {
        paths_out(folder, name, &mut findings);
        links_out(folder, name, &mut findings);
        for entry in entries(folder) {
            match read(folder, &entry) {
                // The test plants links out of the folder under such names.
                Ok(_) if entry.starts_with("escape") => {
                    findings.note(&format!("{name}/{entry}"), Ok::<_, ErrorCode>(()));
                }
                Ok(_) => files.push(format!("{name}/{entry}")),
                Err(error) => {
                    findings.note(&format!("{name}/{entry}"), Err::<(), _>(error));
                }
            }
        }
        if create(folder, "written-by-guest").is_ok() {
            wrote.push(name.clone());
        }
    }
    // Through the standard library as well, which picks a preopened folder by prefix.
    for path in OUTSIDE {
        findings.note(&format!("std {path}"), std::fs::read(path));
    }
    let names: Vec<String> = preopens.into_iter().map(|(_, name)| name).collect();
    let (names, files, wrote) = (json::array(&names), json::array(&files), json::array(&wrote));
    call.json(&format!("{{\"preopens\":{names},\"files\":{files},\"wrote\":{wrote},{}}}", findings.json()));
}

fn paths_out(folder: &Descriptor, name: &str, findings: &mut Findings) {
    for path in OUTSIDE {
        let new = format!("{path}-new");
        findings.note(&format!("open {name}: {path}"), read(folder, path));
        findings.note(&format!("stat {name}: {path}"), folder.stat_at(PathFlags::SYMLINK_FOLLOW, path));
        findings.note(&format!("create {name}: {new}"), create(folder, &new));
    }
}

fn links_out(folder: &Descriptor, name: &str, findings: &mut Findings) {
    for target in ["/etc/passwd", "../../../../../../../../etc/passwd", ".."] {
        // A link as such is harmless where the folder is writable: what counts is that it leads nowhere.
        let through = folder.symlink_at(target, "planted").and_then(|()| read(folder, "planted"));
        findings.note(&format!("symlink {name} to {target}"), through);
        let _absent = folder.unlink_file_at("planted");
        let hard = folder.link_at(PathFlags::empty(), target, folder, "planted-hard");
        findings.note(&format!("link {name} to {target}"), hard);
    }
    findings.note(&format!("rename {name} out"), folder.rename_at(".", folder, "../../moved"));
}

fn read(folder: &Descriptor, path: &str) -> Result<usize, ErrorCode> {
    let file = folder.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ)?;
    file.read(4096, 0).map(|(bytes, _end)| bytes.len())
}

fn create(folder: &Descriptor, path: &str) -> Result<(), ErrorCode> {
    let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
    folder.open_at(PathFlags::empty(), path, OpenFlags::CREATE, flags).map(drop)
}

fn entries(folder: &Descriptor) -> Vec<String> {
    let Ok(stream) = folder.read_directory() else { return Vec::new() };
    std::iter::from_fn(|| stream.read_directory_entry().ok().flatten()).map(|entry| entry.name).collect()
}
