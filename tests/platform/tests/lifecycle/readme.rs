//! The README's section "On a cluster", word for word.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use tempfile::TempDir;
use wisp_platform::{hello, look, repository};

use crate::bare::{Bare, bare};

const SECTION: &str = "\n## On a cluster\n";

/// The shell blocks of the section, as they stand.
fn blocks() -> Vec<String> {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, section) = readme.split_once(SECTION).expect("there is such a section");
    let section = section.split("\n## ").next().unwrap();
    let parts = section.split("\n```sh\n").skip(1);
    parts.map(|part| part.split("\n```").next().unwrap().to_owned()).collect()
}

/// What a user has: helm and kubectl on the PATH, and the name of a registry that the cluster pulls from.
struct Shell<'a> {
    cluster: &'a Bare,
    folder: TempDir,
}

impl<'a> Shell<'a> {
    /// Its `helm` adds what is particular about this cluster, as a user would in a file of values.
    async fn new(cluster: &'a Bare) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let values = folder.path().join("values.json");
        fs::write(&values, cluster.wisp_values().unwrap().to_string()).unwrap();
        let helm = cluster.helm_command().await.unwrap();
        let helm = helm.as_std().get_program().to_string_lossy().into_owned();
        let script = folder.path().join("helm");
        fs::write(&script, format!("#!/bin/bash\nexec {helm} \"$@\" --values {}\n", values.display())).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        Self { cluster, folder }
    }

    /// Runs a block in the repository and returns what it prints. In the node's network, where nobody else has the ports
    /// of 127.0.0.1.
    async fn run(&self, block: &str) -> String {
        // What goes on in the background ends with the shell; it has the output open, which so must be files.
        let script = format!(
            "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\ncd {}\n\
            export PATH={}:$PATH KUBECONFIG={} REGISTRY={}\n{block}\n",
            repository().display(),
            self.folder.path().display(),
            self.cluster.kubeconfig().display(),
            self.cluster.registry().address(),
        );
        let (out, err) = (self.folder.path().join("out"), self.folder.path().join("err"));
        let mut bash = self.cluster.exec_command(["bash", "-c", &script]).unwrap();
        bash.stdin(Stdio::null()).stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
        let status = bash.kill_on_drop(true).status().await.unwrap();
        let printed = fs::read_to_string(&out).unwrap();
        if !status.success() {
            let said = fs::read_to_string(&err).unwrap();
            panic!("the README does not work: {status}\n{block}\n{printed}{said}\n{}", look(self.cluster).await);
        }
        printed
    }
}

#[tokio::test]
async fn the_readme_takes_a_cluster_from_nothing_to_an_answer_and_back_to_zero() {
    let Some(cluster) = bare().await else { return };
    let blocks = blocks();
    let [install, zero] = &blocks[..] else { panic!("two blocks of sh are expected in the README: {blocks:#?}") };
    let shell = Shell::new(&cluster).await;

    let printed = shell.run(install).await;
    assert!(printed.lines().any(|line| line == "hello"), "the answer is not printed: {printed}");
    // What was started for a request is known to the API server a moment later.
    hello(&cluster, "hello").until_replicas(&cluster, 1).await;

    let printed = shell.run(zero).await;
    assert_eq!(replicas_in(&printed), ["0"], "the function is at zero again: {printed}");
}

/// The column REPLICAS of what `kubectl get wf` prints.
fn replicas_in(printed: &str) -> Vec<&str> {
    let mut lines = printed.lines().skip_while(|line| !line.starts_with("NAME"));
    let Some(head) = lines.next() else { return Vec::new() };
    let column = head.find("REPLICAS").expect("there is such a column");
    lines.filter_map(|line| line.get(column..)?.split_whitespace().next()).collect()
}
