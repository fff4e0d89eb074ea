//! critest, by which Kubernetes validates runtimes, with all of its pods by this runtime. What is left out of it stands in
//! `docs/shim.md` with the reason, and nowhere else.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use wisp_cluster::{Cluster, Component, Image};

use crate::fixture::own_cluster;

/// Enough that they wait for one another's timeouts, and not for processors.
const AT_ONCE: &str = "4";
/// As containers and their clients find programs.
const BIN: &str = "/bin";
/// What busybox calls otherwise than these images need it.
const NOT_OF_BUSYBOX: [&str; 2] = ["busybox", "httpd"];
const USERS: &str = "root:x:0:0:root:/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n\
                     default-user:x:1000:1000::/:/bin/sh\n";
const GROUPS: &str = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\ndefault-user:x:1000:\n\
                      group-defined-in-image:x:50000:default-user\n";

/// As ginkgo writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    spec_reports: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Case {
    leaf_node_type: String,
    #[serde(default)]
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_text: String,
    state: String,
    failure: Option<Failure>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    message: String,
}

impl Case {
    fn name(&self) -> String {
        let outer = self.container_hierarchy_texts.iter().flatten();
        outer.chain([&self.leaf_node_text]).map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// By critest itself, for what it found here.
    fn left_itself_out(&self) -> bool {
        self.state == "skipped" && self.failure.is_some()
    }
}

#[tokio::test]
async fn critest_passes_but_for_what_the_documentation_leaves_out() {
    let Some(cluster) = own_cluster().await else { return };
    push_images(&cluster).await;
    // It would take away pods that it knows nothing of.
    cluster.stop(Component::Kubelet).await.unwrap();
    let left_out = left_out();
    let cases = critest(&cluster, &left_out).await;

    let names: Vec<String> = cases.iter().map(Case::name).collect();
    let stale: Vec<_> = left_out.iter().filter(|left_out| !names.iter().any(|name| name.contains(*left_out))).collect();
    assert!(stale.is_empty(), "the documentation leaves out what is no case: {stale:#?} of {names:#?}");
    let wrong = cases.iter().filter(|case| case.left_itself_out() || !["passed", "skipped"].contains(&&*case.state));
    let wrong: Vec<_> =
        wrong.map(|case| (case.name(), &case.state, case.failure.as_ref().map(|failure| &failure.message))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let passed = cases.iter().filter(|case| case.state == "passed").count();
    println!("{passed} of {} cases passed", cases.len());
    assert!(passed > cases.len() / 2, "{passed} of {}", cases.len());
}

/// Runs it in the node, and returns what became of each case.
async fn critest(cluster: &Cluster, left_out: &[String]) -> Vec<Case> {
    let report = cluster.logs().join("critest.json");
    let script = r#"mkdir -p "$STATE/tmp"; export TMPDIR=$STATE/tmp; cd "$STATE/tmp"
        critest -runtime-endpoint "unix://$CONTAINERD_ADDRESS" -runtime-handler wisp "$@" > "$0.log" 2>&1; code=$?
        # Its pods name no group, so that they have one of containerd's, outside of the cluster's.
        rmdir /sys/fs/cgroup/{,*/}k8s.io 2>/dev/null; exit $code"#;
    let mut arguments = vec!["bash".to_owned(), "-c".to_owned(), script.to_owned(), report.display().to_string()];
    arguments.extend(["-parallel".to_owned(), AT_ONCE.to_owned(), "-ginkgo.json-report".to_owned()]);
    arguments.push(report.display().to_string());
    arguments.extend(left_out.iter().map(|case| format!("-ginkgo.skip={}", escaped(case))));
    // It fails when a case does, which the report tells better.
    let ended = cluster.exec(arguments).await;
    let written = fs::read(&report).unwrap_or_else(|error| panic!("no report: {error}; critest: {ended:?}"));
    let reports: Vec<Report> = serde_json::from_slice(&written).unwrap();
    let cases = reports.into_iter().flat_map(|report| report.spec_reports);
    // Measurements are no cases.
    cases.filter(|case| case.leaf_node_type == "It" && !case.name().contains("benchmark")).collect()
}

/// The first column of the table of what is left out, which has each case in backticks.
fn left_out() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/shim.md");
    let text = fs::read_to_string(path).unwrap();
    let section = text.split("\n## Conformance\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned()).collect()
}

/// As a pattern that means only itself.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| (!c.is_alphanumeric() && c != ' ').then_some('\\').into_iter().chain([c])).collect()
}

/// By the names that critest has for them, in the node's own registry.
async fn push_images(cluster: &Cluster) {
    let registry = cluster.registry();
    for host in ["registry.k8s.io", "gcr.io"] {
        registry.stand_for(host).unwrap();
    }
    let small = small_image(cluster);
    let server = |name: &str| small.clone().name(&format!("{BIN}/{name}"), "/bin/conformance").entrypoint(&[name]);
    let privileges = small.clone().setuid_file("/nnp", cluster.image_program("conformance")).entrypoint(&["/nnp"]);
    let host_network = server("nginx").variable("PORT", "12003");
    let of_tests = [
        ("busybox:1.29-2", small.clone()),
        ("nginx:1.14-2", server("nginx")),
        ("httpd:2.4.39-4", server("httpd")),
        ("nonewprivs:1.3", privileges),
    ];
    let of_tools = [
        ("hostnet-nginx-amd64:latest", host_network.clone()),
        ("hostnet-nginx-arm64:latest", host_network),
        ("test-image-latest:latest", small.clone()),
        ("test-image-tag:test", small.clone()),
        ("test-image-tag:all", small.clone().text("/all", "all")),
        ("test-image-1:latest", small.clone()),
        ("test-image-2:latest", small.clone()),
        ("test-image-3:latest", small.clone()),
        ("test-image-user-uid:latest", small.clone().user("1002")),
        ("test-image-user-username:latest", small.clone().user("www-data")),
        ("test-image-user-uid-group:latest", small.clone().user("1003:1004")),
        ("test-image-user-username-group:latest", small.clone().user("www-data:1004")),
        ("test-image-predefined-group:latest", small.clone().user("1000")),
    ];
    for (folder, images) in [("e2e-test-images", &of_tests[..]), ("k8s-staging-cri-tools", &of_tools[..])] {
        for (name, image) in images {
            // Else those of the same content would be one image, and be removed as one.
            let image = image.clone().text("/image", name);
            registry.push(&format!("{folder}/{name}"), &image).await.unwrap();
        }
    }
    for tag in 1..=3 {
        let image = small.clone().text("/image", "tags");
        registry.push(&format!("k8s-staging-cri-tools/test-image-tags:{tag}"), &image).await.unwrap();
    }
}

/// Busybox by all of its names, and what it lacks.
fn small_image(cluster: &Cluster) -> Image {
    let names = fs::read_to_string(cluster.image_program("busybox.names")).unwrap();
    let names = names.lines().filter(|name| !NOT_OF_BUSYBOX.contains(name));
    let image = Image::from_scratch()
        .text("/etc/passwd", USERS)
        .text("/etc/group", GROUPS)
        .variable("PATH", BIN)
        .file("/bin/busybox", cluster.image_program("busybox"))
        .file("/bin/conformance", cluster.image_program("conformance"));
    let image = names.fold(image, |image, name| image.name(&format!("{BIN}/{name}"), "/bin/busybox"));
    ["ipcs", "pgrep"].iter().fold(image, |image, name| image.name(&format!("{BIN}/{name}"), "/bin/conformance"))
}
